"""Pairs of images: one that is made, and the one that it is made from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import Dataset, called, check_plain
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples, ExampleSpec
from gen_jax.data.pictures import picture
from gen_jax.data.splits import Source
from gen_jax.data.translation.conditions import ImageCondition


class _Pairs:
    """A data set whose examples are those of its ``target``, each with the image that it is made
    from: ``spatial``, [H, W, C'] uint8. Labels are the target's."""

    def __init__(self, name: str, target: Dataset, spatial: tuple[int, ...]):
        height, width, channels = spatial
        self.name = name
        self.split = target.split
        self.target = target
        self.image_shape = target.image_shape
        self.class_names = target.class_names
        self.example_spec = ExampleSpec(
            "image", target.image_shape, target.class_names, (height, width, channels)
        )

    def __len__(self) -> int:
        return len(self.target)

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        return self.target.labels

    @property
    def skipped(self) -> int:
        return self.target.skipped


class Paired(_Pairs):
    """Two data sets row by row: images "image" of ``target``, made from "spatial" of ``source``.

    They may differ in channels. Raises ``DataError`` where they differ in length or size.
    ``name`` is what the pairs are called (default: as the target).
    """

    def __init__(self, target: Dataset, source: Dataset, *, name: str | None = None):
        for side in (target, source):
            check_plain(side)
        if len(target) != len(source):
            raise DataError(
                f"{called(target)} has {len(target)} images and {called(source)} {len(source)}; "
                "pairs need as many of each"
            )
        shape = (*source.image_shape[:2], target.image_shape[2])  # their channels may differ
        picture.check_alike(
            f"the source, {called(source)},", shape, f"the target, {called(target)},",
            target.image_shape,
        )  # fmt: skip
        super().__init__(name or target.name, target, source.image_shape)
        self.source = source

    @property
    def digest(self) -> str:
        return digest("paired", self.target.digest, self.source.digest)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        return {**self.target.take(indices), "spatial": self.source.take(indices)["image"]}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "Paired":
        parts = (side.select(indices, split) for side in (self.target, self.source))
        return Paired(*parts, name=self.name)

    def with_classes(self, class_names: Sequence[str]) -> "Paired":
        return Paired(self.target.with_classes(class_names), self.source, name=self.name)


class Mapped(_Pairs):
    """Images, each with "spatial": what a condition computes from it and its number.

    The numbers (default: 0, 1, ... in the order of the given data set) stay with the examples in
    every selection of them, so that what a condition draws for an example is always the same.
    Raises ``DataError`` where the condition does not give uint8 images of the same size.
    """

    def __init__(
        self,
        dataset: Dataset,
        condition: ImageCondition,
        *,
        numbers: Int[np.ndarray, " n"] | None = None,
    ):
        check_plain(dataset)
        made = condition(np.zeros((1, *dataset.image_shape), np.uint8), np.zeros(1, np.int64))
        if made.dtype != np.uint8 or made.ndim != 4:
            raise DataError(
                f"the condition {condition.name} must give uint8 [n, H, W, C], got {made.dtype} "
                f"{list(made.shape)}"
            )
        super().__init__(dataset.name, dataset, made.shape[1:])
        self.condition = condition
        self._numbers = np.arange(len(dataset)) if numbers is None else numbers

    @property
    def digest(self) -> str:
        numbers = np.asarray(self._numbers, np.int64)
        return digest("mapped", self.target.digest, self.condition.name, numbers)

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        examples = self.target.take(indices)
        return {**examples, "spatial": self.condition(examples["image"], self._numbers[indices])}

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "Mapped":
        numbers = self._numbers if indices is None else self._numbers[indices]
        return Mapped(self.target.select(indices, split), self.condition, numbers=numbers)

    def with_classes(self, class_names: Sequence[str]) -> "Mapped":
        target = self.target.with_classes(class_names)
        return Mapped(target, self.condition, numbers=self._numbers)


class PairSource:
    """Two sources of the same splits as one of pairs, row by row: b is made from a, or with
    ``reverse`` a from b."""

    def __init__(self, name: str, a: Source[Dataset], b: Source[Dataset], *, reverse: bool):
        self.name = name
        self._target, self._source = (a, b) if reverse else (b, a)

    @property
    def splits(self) -> tuple[str, ...]:
        return self._target.splits

    @property
    def ignored(self) -> tuple[str, ...]:
        return self._target.ignored

    def open(self, *splits: str) -> Paired:
        target, source = self._target.open(*splits), self._source.open(*splits)
        return Paired(target, source, name=self.name)
