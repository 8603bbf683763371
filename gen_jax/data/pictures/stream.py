"""Pictures decoded on demand."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import relabelling
from gen_jax.data.digests import digest
from gen_jax.data.example import Examples, ExampleSpec
from gen_jax.data.pictures import picture
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Encoded, Records, Relabelled


class StreamDataset:
    """Pictures read and decoded on demand, through ``grain.MapDataset``.

    ``map_dataset`` has one element per example, for use with grain's own transformations.
    ``origin`` is the digest of what is read. ``labels`` are known for folders alone: those of a
    prepared set lie in its records, and are None here although its examples have labels.
    """

    def __init__(
        self,
        name: str,
        split: str,
        records: Records,
        options: ImageOptions,
        image_shape: tuple[int, int, int],
        *,
        origin: str,
        skipped: int = 0,
        rows: Int[np.ndarray, " m"] | None = None,
    ):
        import grain

        self.name = name
        self.split = split
        self.image_shape = image_shape
        self.class_names = records.class_names
        self.skipped = skipped
        self._records = records
        self._options = options
        self._origin = origin
        self._rows = np.arange(len(records)) if rows is None else rows
        self._threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.map_dataset = grain.MapDataset.source(_Rows(records, self._rows)).map(self._decode)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        known = self._records.labels
        return None if known is None else known[self._rows]

    @property
    def example_spec(self) -> ExampleSpec:
        return ExampleSpec("image", self.image_shape, self.class_names)

    @property
    def digest(self) -> str:
        return digest(self._origin, np.asarray(self._rows, np.int64), self.class_names)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        examples: list[Examples] = list(self._threads.map(self._fetch, indices.tolist()))
        if not examples:
            return self.example_spec.blank(0)
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "StreamDataset":
        rows = self._rows if indices is None else self._rows[indices]
        return self._with(self._records, split, rows)

    def with_classes(self, class_names: Sequence[str]) -> "StreamDataset":
        new = relabelling(self, class_names)
        return self._with(Relabelled(self._records, new, class_names), self.split, self._rows)

    def _with(self, records: Records, split: str, rows: Int[np.ndarray, " m"]) -> "StreamDataset":
        return StreamDataset(
            self.name,
            split,
            records,
            self._options,
            self.image_shape,
            origin=self._origin,
            skipped=self.skipped,
            rows=rows,
        )

    def _fetch(self, index: int) -> Any:
        return self.map_dataset[index]

    def _decode(self, encoded: Encoded) -> Examples:
        image = picture.decode(encoded.data, self._options, encoded.where)
        picture.check_alike(encoded.where, image.shape, self.name, self.image_shape)
        if encoded.label is None:
            return {"image": image}
        return {"image": image, "label": np.asarray(encoded.label, np.int32)}


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Records as the random access source that grain expects."""

    records: Records
    rows: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.records.read([int(self.rows[index])])[0]
