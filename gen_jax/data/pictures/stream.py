"""Pictures decoded when they are asked for."""

import concurrent.futures
import dataclasses
import os
from typing import Any

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import Examples
from gen_jax.data.pictures import picture
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.records import Encoded, Records


class StreamDataset:
    """Pictures read and decoded when they are asked for, through ``grain.MapDataset``.

    ``map_dataset`` has one element an example, for use with grain's own transformations.
    """

    def __init__(
        self,
        name: str,
        split: str,
        records: Records,
        options: ImageOptions,
        image_shape: tuple[int, int, int],
        *,
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
        self._rows = np.arange(len(records)) if rows is None else rows
        self._threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.map_dataset = grain.MapDataset.source(_Rows(records, self._rows)).map(self._decode)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        examples: list[Examples] = list(self._threads.map(self._fetch, indices.tolist()))
        if not examples:
            nothing = {"image": np.empty((0, *self.image_shape), np.uint8)}
            return (
                nothing if self.class_names is None else nothing | {"label": np.empty(0, np.int32)}
            )
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "StreamDataset":
        return StreamDataset(
            self.name,
            split,
            self._records,
            self._options,
            self.image_shape,
            skipped=self.skipped,
            rows=self._rows if indices is None else self._rows[indices],
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
    """Records as the random access source that grain wants."""

    records: Records
    rows: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.records.read([int(self.rows[index])])[0]
