"""Two domains of images, of which no image belongs to one of the other."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import Dataset, called, check_plain
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples, ExampleSpec
from gen_jax.data.pictures import picture


class TwoDomains:
    """Two data sets of images of one shape, "a" and "b"; a row of one says nothing of the other.

    ``Batches`` shuffles each side in an order of its own, through its own epochs. ``take`` numbers
    rows for evaluation: as many as the larger side has, beside which the smaller side's examples
    stand evenly spread, each several times. Where ``aligned``, these rows are known to correspond,
    so that b's image is what a's should become: a truth to measure against, never to train on.
    Labels stay with the sides, which are data sets of their own: ``a`` and ``b``. ``name`` is what
    the set is called (default: by both names).

    Raises ``DataError`` where a side is empty, the sides differ in shape, or aligned sides in
    length.
    """

    class_names = None
    labels = None

    def __init__(self, a: Dataset, b: Dataset, *, name: str | None = None, aligned: bool = False):
        for side in (a, b):
            check_plain(side)
            if not len(side):
                raise DataError(f"{called(side)} has no images; two domains need some of each")
        picture.check_alike(f"b, {called(b)},", b.image_shape, f"a, {called(a)},", a.image_shape)
        if aligned and len(a) != len(b):
            raise DataError(
                f"{called(a)} has {len(a)} images and {called(b)} {len(b)}; aligned domains need "
                "as many of each"
            )
        self.name = name or " and ".join(dict.fromkeys((a.name, b.name)))
        self.split = a.split
        self.a = a
        self.b = b
        self.aligned = aligned

    def __len__(self) -> int:
        return max(self.side_lengths)

    @property
    def side_lengths(self) -> tuple[int, int]:
        return len(self.a), len(self.b)

    @property
    def example_spec(self) -> ExampleSpec:
        return ExampleSpec("domains", self.a.image_shape, None)

    @property
    def digest(self) -> str:
        return digest("domains", self.a.digest, self.b.digest, self.aligned)

    @property
    def skipped(self) -> int:
        return self.a.skipped + self.b.skipped

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        return self.take_each(*(self._own(side, indices) for side in (self.a, self.b)))

    def _own(self, side: Dataset, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Which of a side's examples stand in these rows."""
        return rows * len(side) // len(self)

    def take_each(self, *indices: Int[np.ndarray, " n"]) -> Examples:
        of_a, of_b = indices
        return {"a": self.a.take(of_a)["image"], "b": self.b.take(of_b)["image"]}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "TwoDomains":
        """Returns the rows at ``indices`` (None: all), as ``take`` numbers them: all over both
        sides where they are all over the set."""
        a, b = (
            side.select(None if indices is None else self._own(side, indices), split)
            for side in (self.a, self.b)
        )
        return TwoDomains(a, b, name=self.name, aligned=self.aligned)

    def with_classes(self, class_names: Sequence[str]) -> Self:
        """Raises ``DataError``: the sides have the labels."""
        raise DataError(f"{called(self)} has no labels; its sides a and b may have")
