"""Train, validation and test parts that never overlap, whatever a source offers."""

from typing import Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import AnyDataset
from gen_jax.data.errors import DataError
from gen_jax.data.permutation import permutation

_KINDS = {"image": "images", "audio": "sounds"}
_HELD_OUT = 1  # sets this use of a seed apart from the orders of epochs


class Divisible(Protocol):
    """Examples that can be parted."""

    def __len__(self) -> int: ...

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> Self:
        """Returns the examples at ``indices`` (None: all), named ``split``."""
        ...


def check_splits(
    train: AnyDataset, validation: AnyDataset, test: AnyDataset, *, classes: bool
) -> None:
    """Raises ``DataError`` unless what is learned from ``train`` can be measured on the others.

    All must be of one kind and shape; where ``classes`` matter, all or none have labels, of the
    same classes, and each class that has examples in the others has some in ``train``. Classes
    are not counted where ``labels`` are unknown (a streamed set).
    """
    for part in (validation, test):
        _check_shapes(train, part)
        if classes:
            _check_classes(train, part)


def _check_shapes(train: AnyDataset, part: AnyDataset) -> None:
    ours, theirs = train.example_spec, part.example_spec
    if ours.kind != theirs.kind:
        raise DataError(
            f"{_called(train)} holds {_KINDS[ours.kind]}, {_called(part)} {_KINDS[theirs.kind]}"
        )
    both = f"{_called(part)} is {list(theirs.shape)}, of {_called(train)} {list(ours.shape)}"
    if ours.kind == "audio" and ours.shape != theirs.shape:
        raise DataError(f"sounds differ in length: one of {both}; give both the same length")
    if ours.shape[:2] != theirs.shape[:2]:
        raise DataError(
            f"images differ in size: one of {both}; give an image_size to make them alike"
        )
    if ours.shape != theirs.shape:
        raise DataError(
            f"images differ in channels: one of {both}; give channels=1 (gray) or channels=3 "
            "(RGB) to make them alike"
        )


def _check_classes(train: AnyDataset, part: AnyDataset) -> None:
    ours, theirs = train.class_names, part.class_names
    if (ours is None) != (theirs is None):
        without, beside = (train, part) if ours is None else (part, train)
        raise DataError(
            f"{_called(without)} has no labels, {_called(beside)} has; a model of classes wants "
            "them in both"
        )
    if ours != theirs:
        raise DataError(
            f"{_called(part)} has other classes than {_called(train)}, or another order of them; "
            "with_classes matches them by name"
        )
    if ours is None or train.labels is None or part.labels is None:
        return
    unseen = np.setdiff1d(part.labels, train.labels)
    if len(unseen):
        raise DataError(
            f"{_called(part)} has examples of the class {ours[unseen[0]]!r}, {_called(train)} none"
        )


def _called(part: AnyDataset) -> str:
    return f"the {part.split} split of {part.name}"


Parts = TypeVar("Parts", bound=Divisible, covariant=True)


class Source(Protocol[Parts]):
    """Where a data set comes from; a source that knows no splits calls all it has "train"."""

    @property
    def name(self) -> str: ...

    @property
    def splits(self) -> tuple[str, ...]: ...

    def open(self, *splits: str) -> Parts:
        """Returns all examples of these splits, one after the other, in the source's order."""
        ...


def open_split(
    source: Source[Parts], split: str, *, validation_fraction: float, seed: int
) -> Parts:
    """Opens a split of the source, or the part of its "train" that stands in for a missing one.

    A source without "validation" has ``validation_fraction`` of "train" held out as such, by a
    permutation of ``seed``; one with nothing but "train" has as many held out as "test" too.
    """
    if not 0.0 <= validation_fraction < 1.0:
        raise DataError(f"validation_fraction must lie in [0, 1), got {validation_fraction}")
    if seed < 0:
        raise DataError(f"the seed must be 0 or more, got {seed}")
    held_out = _held_out(source.splits) if validation_fraction > 0.0 else ()
    train = ("train", "train+validation") if "train" in source.splits else ()
    if split not in (*train, *held_out, *source.splits):
        names = dict.fromkeys((*train[:1], *held_out, *source.splits, *train[1:]))
        lacking = split in _held_out(source.splits)
        hint = "; a validation_fraction above 0 would hold some out" if lacking else ""
        raise DataError(f"{source.name} has no split {split!r}; it has {', '.join(names)}{hint}")
    # All of "train" is train+validation, unless a test part comes off it too.
    parts = {*held_out, *train[: len(held_out)]}
    if split in parts:
        whole = source.open("train")
        return whole.select(
            _part(source.name, len(whole), split, held_out, validation_fraction, seed), split
        )
    if split == "train+validation":
        both = [name for name in ("train", "validation") if name in source.splits]
        return source.open(*both).select(None, split)
    return source.open(split)


def _held_out(splits: tuple[str, ...]) -> tuple[str, ...]:
    if "train" not in splits or "validation" in splits:
        return ()
    return ("validation",) if len(splits) > 1 else ("validation", "test")


def _part(
    name: str, n: int, split: str, held_out: tuple[str, ...], fraction: float, seed: int
) -> Int[np.ndarray, " m"]:
    """The examples of ``range(n)`` that make up a split, in order."""
    count = max(1, round(n * fraction))
    if count * len(held_out) >= n:
        raise DataError(
            f"{name}: holding out {count} of {n} examples each for {' and '.join(held_out)} "
            f"leaves none to train on; a smaller validation_fraction than {fraction} would"
        )
    order = permutation(n, seed, _HELD_OUT)
    start = {part: i * count for i, part in enumerate(held_out)}
    if split in held_out:
        chosen = order[start[split] : start[split] + count]
    elif split == "train":
        chosen = order[len(held_out) * count :]
    else:  # train+validation
        chosen = np.concatenate([order[:count], order[len(held_out) * count :]])
    return np.sort(chosen)
