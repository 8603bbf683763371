"""Labelled examples that can be fetched by index, in whatever way they are stored."""

import functools
from typing import Protocol, Self

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.errors import DataError

# "image" uint8 [n, H, W, C] or "audio" int16 [n, T, C]; where known "label" int32 [n]
Examples = dict[str, np.ndarray]


class AnyDataset(Protocol):
    """One split of a data set, of images or of sound, in a fixed order."""

    @property
    def name(self) -> str:
        """The SPEC that ``load`` was given."""
        ...

    @property
    def split(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The name of each label 0, 1, ..., where known."""
        ...

    @property
    def skipped(self) -> int:
        """Examples of the source that were left out: unreadable images where ``skip_bad_images``
        says so, sounds shorter than a window."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        """Returns the examples at ``indices``: "image" or "audio", and "label" where known."""
        ...

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> Self:
        """Returns the data set of the examples at ``indices`` (None: all), named ``split``."""
        ...


class Dataset(AnyDataset, Protocol):
    """One split of a data set of images."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        ...


class ArrayDataset:
    """Images in an array, in memory or memory-mapped.

    ``rows`` picks the examples out of the arrays, without a copy (default: all, in order).
    Raises ``DataError`` unless images are uint8 [N, H, W, C] with as many labels, if any.
    """

    def __init__(
        self,
        name: str,
        split: str,
        images: UInt8[np.ndarray, "n height width channels"],
        labels: Int[np.ndarray, " n"] | None = None,
        *,
        class_names: tuple[str, ...] | None = None,
        skipped: int = 0,
        rows: Int[np.ndarray, " m"] | None = None,
    ):
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(
                f"{name}: images must be uint8 [N, H, W, C], got {images.dtype} {images.shape}"
            )
        if labels is not None and labels.shape != (len(images),):
            raise DataError(
                f"{name}: {len(images)} images want labels of shape ({len(images)},), "
                f"got {labels.shape}"
            )
        self.name = name
        self.split = split
        self.class_names = class_names
        self.skipped = skipped
        # A plain view: indexing a np.memmap costs more than the gather of a batch.
        self._images = np.asarray(images)
        self._labels = None if labels is None else np.asarray(labels, np.int32)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._images) if self._rows is None else len(self._rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._images.shape[1:]
        return height, width, channels

    @functools.cached_property
    def images(self) -> UInt8[np.ndarray, "n height width channels"]:
        """All images, in order (a copy where the split is a part of the stored array)."""
        return self._images if self._rows is None else self._images[self._rows]

    @functools.cached_property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """All labels, in order."""
        if self._labels is None or self._rows is None:
            return self._labels
        return self._labels[self._rows]

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        rows = indices if self._rows is None else self._rows[indices]
        examples = {"image": np.take(self._images, rows, axis=0)}
        if self._labels is not None:
            examples["label"] = np.take(self._labels, rows)
        return examples

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "ArrayDataset":
        rows = self._rows
        if indices is not None:
            rows = indices if rows is None else rows[indices]
        return ArrayDataset(
            self.name,
            split,
            self._images,
            self._labels,
            class_names=self.class_names,
            skipped=self.skipped,
            rows=rows,
        )


def spread(size: int, n: int) -> Int[np.ndarray, " n"]:
    """``n`` of ``range(size)`` at even distances, or all: of a set sorted by class, each class."""
    n = min(size, n)
    return np.arange(n) * size // max(n, 1)


def some(dataset: AnyDataset, n: int) -> Examples:
    """``n`` examples from all over a set, always the same ones; all where it has no more."""
    return dataset.take(spread(len(dataset), n))
