"""Train, validation and test parts that never overlap, whatever a source offers."""

from typing import Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Int

from gen_jax.data.errors import DataError
from gen_jax.data.permutation import permutation

_HELD_OUT = 1  # sets this use of a seed apart from the orders of epochs


class Divisible(Protocol):
    """Examples that can be parted."""

    def __len__(self) -> int: ...

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> Self:
        """Returns the examples at ``indices`` (None: all), named ``split``."""
        ...


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
