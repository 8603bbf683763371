"""Pictures as a source stores them: encoded, by number."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol


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

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[Encoded]: ...
