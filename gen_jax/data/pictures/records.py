"""Pictures as a source stores them: encoded, by number."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int


class Encoded(NamedTuple):
    """One stored picture: its file or the bytes of one, and what to call it to the user."""

    data: bytes | pathlib.Path
    label: int | None
    where: str


class Records(Protocol):
    """Stored pictures by number; ``read`` is called from several threads at once."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None where there are no labels."""
        ...

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """All labels, int32; None where there are none, and where they are not known unread."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[Encoded]: ...


class Chosen:
    """Some of the records, in another order or number."""

    def __init__(self, records: Records, rows: Int[np.ndarray, " m"]):
        self.class_names = records.class_names
        self.labels = None if records.labels is None else records.labels[rows]
        self._records = records
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        return self._records.read(self._rows[list(indices)].tolist())


class Relabelled:
    """Records of other classes: a label becomes ``new[label]``, among ``class_names``."""

    def __init__(self, records: Records, new: Int[np.ndarray, " old"], class_names: Sequence[str]):
        self.class_names = tuple(class_names)
        self.labels = None if records.labels is None else new[records.labels]
        self._records = records
        self._new = new

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: Sequence[int]) -> list[Encoded]:
        read = self._records.read(indices)
        return [
            record if record.label is None else record._replace(label=int(self._new[record.label]))
            for record in read
        ]
