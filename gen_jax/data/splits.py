"""Train, validation and test parts that never overlap, whatever a source offers."""

import itertools
import re
from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Int

from gen_jax.data.errors import DataError
from gen_jax.data.permutation import check_seed, permutation

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing"),
}
_USUAL = {spelling: split for split, those in SPELLINGS.items() for spelling in those}
SPELLING = "|".join(itertools.chain.from_iterable(SPELLINGS.values()))  # of a pattern
_SIDE = re.compile(f"((?i:{SPELLING}))([AB]|[-_ ][ABab])")
_HELD_OUT = 1  # separates this use of a seed from the orders of epochs


def usual(name: str) -> str:
    """``train``, ``validation`` or ``test`` for their spellings in any case; else the name."""
    return _USUAL.get(name.casefold(), name)


def side_of(name: str) -> tuple[str, str] | None:
    """The usual name of a split and A or B, for the name of one side of it: trainA, val_b; None for
    other names."""
    match = _SIDE.fullmatch(name)
    return match and (usual(match[1]), match[2][-1].upper())


def by_usual_name(source: str, own: Iterable[str]) -> dict[str, str]:
    """A source's own name of each split, by its usual name.

    Raises ``DataError`` where two of its names mean one split.
    """
    names: dict[str, str] = {}
    for name in own:
        other = names.setdefault(usual(name), name)
        if other != name:
            raise DataError(
                f"{source} has {usual(name)} twice, as {other} and {name}; keep one of them, or "
                "put both in one"
            )
    return names


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
    def splits(self) -> tuple[str, ...]:
        """Their names, the usual ones where ``usual`` knows them."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """What lies beside the splits and belongs to none: keys of a file, files of a folder."""
        ...

    def open(self, *splits: str) -> Parts:
        """Returns all examples of these splits, one after the other, in the source's order."""
        ...


def open_split(
    source: Source[Parts], split: str, *, validation_fraction: float, seed: int, few: str = ""
) -> Parts:
    """Opens a split of the source, or the part of its "train" that stands in for a missing one.

    A source without "validation" has ``validation_fraction`` of "train" held out as such, by a
    permutation of ``seed``; one with nothing but "train" has as many held out as "test" too.
    ``few`` is what else to say of a source with too few examples for that.
    """
    if not 0.0 <= validation_fraction < 1.0:
        raise DataError(f"validation_fraction must lie in [0, 1), got {validation_fraction}")
    check_seed(seed)
    split = "+".join(usual(part) for part in split.split("+"))
    held_out = _held_out(source.splits) if validation_fraction > 0.0 else ()
    train = ("train", "train+validation") if "train" in source.splits else ()
    if split not in (*train, *held_out, *source.splits):
        names = dict.fromkeys((*train[:1], *held_out, *source.splits, *train[1:]))
        hint = ""
        if split in _held_out(source.splits):
            hint = "; validation_fraction=0 holds none out; set one above 0"
        elif source.ignored:
            more = ", ..." if len(source.ignored) > 8 else ""
            hint = f"; ignored: {', '.join(source.ignored[:8])}{more}"
        raise DataError(f"{source.name} has no split {split!r}; it has {', '.join(names)}{hint}")
    undivided = "+".join(("train", *held_out))  # of any size, and without a copy
    if held_out and split in (*held_out, *train) and split != undivided:
        whole = source.open("train")
        return whole.select(
            _part(source.name, len(whole), split, held_out, validation_fraction, seed, few), split
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
    name: str,
    n: int,
    split: str,
    held_out: tuple[str, ...],
    fraction: float,
    seed: int,
    few: str,
) -> Int[np.ndarray, " m"]:
    """The examples of ``range(n)`` that make up a split, in order."""
    count = max(1, round(n * fraction))
    if n <= len(held_out):
        lacking, uses = (
            ("splits", ", to validate and to test")
            if len(held_out) > 1
            else ("a validation split", " and to validate")
        )
        raise DataError(
            f"{name} has too few examples to hold any out, {n}: a set without {lacking} needs "
            f"{len(held_out) + 1}, one each to train on{uses}{few}"
        )
    if count * len(held_out) >= n:
        raise DataError(
            f"{name}: holding out {count} of {n} examples each for {' and '.join(held_out)} "
            f"leaves none to train on; a smaller validation_fraction than {fraction} would"
        )
    order = permutation(n, seed, _HELD_OUT)
    cuts = np.split(order, count * np.arange(1, len(held_out) + 1))
    parts = dict(zip((*held_out, "train"), cuts, strict=True))
    return np.sort(np.concatenate([parts[part] for part in split.split("+")]))
