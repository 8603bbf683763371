"""The two sides of a set that holds an A and a B, however its folders or splits are named."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int

from gen_jax.data import splits
from gen_jax.data.dataset import Dataset
from gen_jax.data.errors import DataError, few
from gen_jax.data.folder import FileTree, visible
from gen_jax.data.pictures.folder import PICTURES, ImageFolder
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.translation.pairs import PairSource

Images = TypeVar("Images", bound=splits.Source[Dataset])
_LETTERS = {"A": "A", "B": "B", "a": "A", "b": "B"}


@dataclasses.dataclass(frozen=True)
class Side(Generic[Images]):
    """One side of a source, as a source: ``own`` are the source's names of its splits, by the usual
    ones."""

    name: str
    source: Images
    own: Mapping[str, str]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.own)

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.source.ignored

    def open(self, *splits: str) -> Dataset:
        return self.source.open(*(self.own[split] for split in splits)).select(
            None, "+".join(splits)
        )


def sides_of_splits(source: Images) -> tuple[Side[Images], Side[Images]]:
    """The sides of a source whose splits are trainA, trainB, testA, testB, say.

    Raises ``DataError`` where it has no such splits, or one of them without the other.
    """
    found = {own: side for own in source.splits if (side := splits.side_of(own))}
    if not found:
        raise DataError(
            f"{source.name} has the splits {', '.join(source.splits)}; the splits of a set of two "
            "domains are trainA, trainB, testA and testB"
        )
    a, b = _by_side(source.name, found)
    return Side(f"{source.name} A", source, a), Side(f"{source.name} B", source, b)


def sides_of_folder(
    name: str, path: pathlib.Path, options: ImageOptions
) -> tuple[Side[ImageFolder], Side[ImageFolder]]:
    """The sides of a folder: ``A/train`` and ``B/train``, ``train/A`` and ``train/B``, ``trainA``
    and ``trainB``, or without splits ``A`` and ``B``; and so on for the other splits.

    Raises ``DataError`` where there are none, or one without the other.
    """
    if not path.is_dir():
        raise DataError(f"{name}: there is no folder {path}")
    found = _folders_of_sides(name, path)
    if not found:
        raise DataError(
            f"{name}: {path} has no two sides; they are the folders A and B, train/A and train/B, "
            "or trainA and trainB"
        )
    a, b = _by_side(name, found)
    folder = ImageFolder(name, path, options, {own: own for own in found})
    return Side(f"{name} A", folder, a), Side(f"{name} B", folder, b)


def pairs_of_folder(
    name: str, path: pathlib.Path, options: ImageOptions, *, reverse: bool
) -> PairSource:
    """The pairs of a folder with two sides: files of the same name, whatever their ending.

    Raises ``DataError`` for files without a partner, and with ``skip_bad_images``.
    """
    if options.skip_bad_images:
        raise DataError(
            f"{name}: skip_bad_images would leave one picture of a pair without the other; remove "
            "the pairs that have an unreadable picture"
        )
    a, b = sides_of_folder(name, path, options)
    orders, alone, n = {}, [], 0
    for split in a.splits:
        of_a, of_b = (side.source.by_name(side.own[split]) for side in (a, b))
        alone += [file for key, file in of_a.items() if key not in of_b]
        alone += [file for key, file in of_b.items() if key not in of_a]
        n += len(of_a) + len(of_b)
        row = {key: number for number, key in enumerate(of_b)}
        orders[split] = np.array([row.get(key, -1) for key in of_a], np.int64)
    if alone:
        shown = few([*map(str, alone)])
        raise DataError(
            f"{name}: {len(alone)} of {n} pictures have no partner of the same name: {shown}"
        )
    return PairSource(name, a, _Reordered(b, orders), reverse=reverse)


def halves_of_folder(
    name: str, path: pathlib.Path, options: ImageOptions, *, reverse: bool
) -> PairSource:
    """The pairs of a folder whose files hold two pictures each: A on the left, B on the right."""
    a, b = (
        ImageFolder(name, path, dataclasses.replace(options, half=half))
        for half in ("left", "right")
    )
    return PairSource(name, a, b, reverse=reverse)


@dataclasses.dataclass(frozen=True)
class _Reordered:
    """A side whose examples come in another order: the rows of each split."""

    side: Side[ImageFolder]
    orders: Mapping[str, Int[np.ndarray, " n"]]

    @property
    def name(self) -> str:
        return self.side.name

    @property
    def splits(self) -> tuple[str, ...]:
        return self.side.splits

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.side.ignored

    def open(self, *splits: str) -> Dataset:
        orders = [self.orders[split] for split in splits]
        starts = np.cumsum([0, *map(len, orders)])
        rows = np.concatenate([start + order for start, order in zip(starts, orders, strict=False)])
        opened = self.side.open(*splits)
        return opened.select(rows, opened.split)


def _folders_of_sides(name: str, path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """The folders, below ``path``, of each side of each split, with the split and the side."""
    whole: dict[str, tuple[str, str]] = {}  # below a folder that is all of a side
    parts: dict[str, tuple[str, str]] = {}
    for folder in _folders(path):
        if side := _LETTERS.get(folder.name):
            tree = FileTree(f"{name} {folder.name}", folder, PICTURES)
            for split, place in tree.folders.items():
                whole[pathlib.PurePath(folder.name, place).as_posix()] = (split, side)
        elif split_and_side := splits.side_of(folder.name):
            parts[folder.name] = split_and_side
        elif (split := splits.usual(folder.name)) in splits.SPELLINGS:
            for inner in _folders(folder):
                if side := _LETTERS.get(inner.name):
                    parts[f"{folder.name}/{inner.name}"] = (split, side)
    if whole and parts:
        raise DataError(
            f"{name} holds both {', '.join(whole)} and {', '.join(parts)}; the splits of A belong "
            "into A (A/train), or all beside one another (trainA)"
        )
    return whole or parts


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    return [entry for entry in visible(path) if entry.is_dir()]


def _by_side(
    name: str, found: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """The source's own name of each split, of A and of B.

    Raises ``DataError`` where two names mean one, and where a split has one side only.
    """
    sides: dict[str, dict[str, str]] = {"A": {}, "B": {}}
    for own, (split, side) in found.items():
        other = sides[side].setdefault(split, own)
        if other != own:
            raise DataError(f"{name} has one side twice, as {other} and {own}; keep one of them")
    for own, (split, side) in found.items():
        missing = "B" if side == "A" else "A"
        if split not in sides[missing]:
            raise DataError(f"{name} has {own}, but no {missing} beside it")
    return sides["A"], sides["B"]
