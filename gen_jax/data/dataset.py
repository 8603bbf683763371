"""Labelled examples that can be fetched by index, in whatever way they are stored."""

import functools
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples, ExampleSpec


class Labelled(Protocol):
    """What is known of the classes of a split."""

    @property
    def name(self) -> str:
        """The SPEC that ``load`` was given."""
        ...

    @property
    def split(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The name of each label 0, 1, ...; None exactly where the examples have no labels."""
        ...

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """All labels, int32, in order; None where there are none, and where a streamed set would
        have to read all of its records for them."""
        ...


class AnyDataset(Labelled, Protocol):
    """One split of a data set, of images or of sound, in a fixed order."""

    @property
    def example_spec(self) -> ExampleSpec: ...

    @property
    def digest(self) -> str:
        """A SHA-256, in hex, that changes when the examples do.

        It covers the files' names, sizes and classes (or an array's bytes), which examples of them
        these are, and how they are converted; not the files' times, nor where they lie.
        """
        ...

    @property
    def skipped(self) -> int:
        """Examples of the source that were left out: unreadable images where ``skip_bad_images``
        says so, sounds shorter than a window."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        """Returns the examples at ``indices``, under the keys that ``example_spec`` says."""
        ...

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> Self:
        """Returns the data set of the examples at ``indices`` (None: all), named ``split``."""
        ...

    def with_classes(self, class_names: Sequence[str]) -> Self:
        """Returns the same examples with labels that number ``class_names``, matched by name.

        Raises ``DataError`` where there are no labels, and for a class that has examples here (or
        may have, where ``labels`` are unknown) and is not among the names.
        """
        ...


Divided = TypeVar("Divided", bound=AnyDataset)


@runtime_checkable
class Sided(Protocol):
    """A data set of sides whose examples do not belong together: training shuffles each side in an
    order of its own."""

    @property
    def side_lengths(self) -> tuple[int, ...]:
        """How many examples each side has."""
        ...

    def take_each(self, *indices: Int[np.ndarray, " n"]) -> Examples:
        """Returns the examples at these indices of each side, beside one another."""
        ...


class Dataset(AnyDataset, Protocol):
    """One split of a data set of images."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        ...


class ArrayDataset:
    """Images in an array, in memory or memory-mapped.

    ``labels`` number the ``class_names``; without names, the distinct labels become the classes
    0, 1, ... in ascending order, named by their decimal text. ``rows`` picks the examples out of
    the arrays, without a copy (default: all, in order). ``origin`` is the digest of what the arrays
    were made from (default: of the arrays). Raises ``DataError`` unless images are uint8
    [N, H, W, C] with as many labels, if any, and for labels that are not the number of a class.
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
        origin: str | None = None,
    ):
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(
                f"{name}: images must be uint8 [N, H, W, C], got {images.dtype} {images.shape}"
            )
        if labels is not None and labels.shape != (len(images),):
            raise DataError(
                f"{name}: {len(images)} images need labels of shape ({len(images)},), "
                f"got {labels.shape}"
            )
        self.name = name
        self.split = split
        self.skipped = skipped
        # A plain view: indexing a np.memmap costs more than the gather of a batch.
        self._images = np.asarray(images)
        self._labels, self.class_names = numbered(name, labels, class_names)
        self._rows = rows
        self._origin = origin

    def __len__(self) -> int:
        return len(self._images) if self._rows is None else len(self._rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._images.shape[1:]
        return height, width, channels

    @property
    def example_spec(self) -> ExampleSpec:
        return ExampleSpec("image", self.image_shape, self.class_names)

    @property
    def digest(self) -> str:
        rows = np.arange(len(self)) if self._rows is None else np.asarray(self._rows, np.int64)
        content = self._origin or digest(self._images_digest, self.labels)
        return digest(content, rows, self.class_names)

    @functools.cached_property
    def _images_digest(self) -> str:
        return digest(self._images)

    @functools.cached_property
    def images(self) -> UInt8[np.ndarray, "n height width channels"]:
        """All images, in order (a copy where the split is a part of the stored array)."""
        return self._images if self._rows is None else self._images[self._rows]

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """All labels, int32, in order."""
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
            origin=self._origin,
        )

    def with_classes(self, class_names: Sequence[str]) -> "ArrayDataset":
        new = relabelling(self, class_names)
        assert self._labels is not None
        labels = np.zeros(len(self._images), np.int32)  # of rows that are not picked, any
        picked = slice(None) if self._rows is None else self._rows
        labels[picked] = new[self._labels[picked]]
        return ArrayDataset(
            self.name,
            self.split,
            self._images,
            labels,
            class_names=tuple(class_names),
            skipped=self.skipped,
            rows=self._rows,
            origin=self._origin,
        )


def numbered(
    name: str, labels: Int[np.ndarray, " n"] | None, class_names: Sequence[str] | None
) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...] | None]:
    """Labels as int32 numbers of classes, and the classes' names: see ``ArrayDataset``.

    Raises ``DataError`` for labels that are not integers, or have no name.
    """
    if labels is None:
        if class_names is not None:
            raise DataError(f"{name}: class_names given without labels")
        return None, None
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels must be integers, got {labels.dtype}")
    if class_names is None:
        distinct, numbers = np.unique(labels, return_inverse=True)
        return numbers.astype(np.int32), tuple(str(label) for label in distinct.tolist())
    if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise DataError(
            f"{name}: labels must lie in 0..{len(class_names) - 1} for {len(class_names)} classes, "
            f"got {labels.min()}..{labels.max()}"
        )
    return np.asarray(labels, np.int32), tuple(class_names)


def relabelling(dataset: Labelled, class_names: Sequence[str]) -> Int[np.ndarray, " old"]:
    """The number among ``class_names`` of each of a set's own classes.

    It is -1 for one that is not among them, but has no examples either, as far as the labels are
    known. Raises ``DataError`` as ``with_classes`` does.
    """
    if dataset.class_names is None:
        raise DataError(f"{called(dataset)} has no labels")
    number = {name: label for label, name in enumerate(class_names)}
    new = np.array([number.get(name, -1) for name in dataset.class_names], np.int32)
    absent = np.flatnonzero(new < 0)
    if dataset.labels is not None:
        absent = absent[np.isin(absent, dataset.labels)]
    if len(absent):
        known = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
        raise DataError(
            f"{called(dataset)} has the class {dataset.class_names[absent[0]]!r}, which is none of "
            f"{known}"
        )
    return new


def called(dataset: Labelled) -> str:
    """What to call a split to the user."""
    return f"the {dataset.split} split of {dataset.name}"


def check_plain(dataset: Dataset) -> None:
    """Raises ``DataError`` unless the examples are single images, without captions or sources."""
    if (noun := dataset.example_spec.noun) != "images":
        raise DataError(f"{called(dataset)} holds {noun}; single images are needed")


def spread(size: int, n: int) -> Int[np.ndarray, " n"]:
    """``n`` of ``range(size)`` at even distances, or all: of a set sorted by class, each class."""
    n = min(size, n)
    return np.arange(n) * size // max(n, 1)


def part(dataset: Divided, n: int | None) -> Divided:
    """``n`` examples from all over a set as a data set, always the same ones.

    It is the set itself where that has no more, or ``n`` is None.
    """
    if n is None or n >= len(dataset):
        return dataset
    return dataset.select(spread(len(dataset), n), dataset.split)


def some(dataset: AnyDataset, n: int) -> Examples:
    """``n`` examples from all over a set, always the same ones; all where it has no more."""
    few = part(dataset, n)
    return few.take(np.arange(len(few)))
