"""Mazes as a set of pairs: a shortest path, made from a maze with its start and goal."""

import re

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.errors import DataError
from gen_jax.data.mazes.grids import Grids
from gen_jax.data.mazes.making import KINDS, SPLITS, check, make, side_of
from gen_jax.data.mazes.routes import descent, distances
from gen_jax.data.permutation import check_seed
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.translation.pairs import Paired

N_TRAIN = 20_000
N_HELD_OUT = 500
_NAME = re.compile(r"mazes:([a-z]+):([0-9]{1,9})(?::([0-9]{1,9}))?")
_PIXELS = 2**19  # of the mazes that are drawn together
_WORKING = 160  # bytes that drawing a pixel takes
_KEPT = 4  # bytes: three channels of a maze, and one of a path


class Mazes:
    """A source of mazes ``mazes:KIND:CELLS[:N]``, made here: see ``make`` for the kinds.

    An example is "image", the shortest path, [S, S, 1] of 0 and 255 with start and goal on it, and
    "spatial", [S, S, 3] of 0 and 255: the walls, the start, the goal; S = 2 CELLS + 1. Of several
    shortest paths it is the one whose every step, from the start on, is the first possible of up,
    left, right and down.

    There are N examples to train on (default: 20,000), and N, but at most 500, each to validate and
    to test. An example is a pure function of the seed, the kind, CELLS, the split and its number: a
    larger N adds examples. No two splits share a maze, of one seed or of several.

    All pairs of a split are made when it is opened, and kept in memory: 20,000 mazes of 8 cells a
    side take three seconds of a CPU core and 23 MB. Raises ``DataError`` for a name that cannot be,
    for options that mazes do not have, and for more than the options' ``memory_limit``.
    """

    splits = SPLITS
    ignored = ()

    def __init__(self, name: str, options: ImageOptions, seed: int, *, reverse: bool = False):
        refused = {
            "image_size": options.image_size is not None,
            "channels": options.channels is not None,
            "skip_bad_images": options.skip_bad_images,
            "reverse": reverse,
        }
        if any(refused.values()):
            given = ", ".join(option for option, is_given in refused.items() if is_given)
            raise DataError(f"{name}: mazes take no {given}; their size follows from CELLS")
        match = _NAME.fullmatch(name)
        if not match or match[1] not in KINDS:
            raise DataError(
                "mazes are called mazes:KIND:CELLS or mazes:KIND:CELLS:N, with a KIND of "
                f"{', '.join(KINDS)} and whole numbers of CELLS a side and of N examples, got "
                f"{name!r}"
            )
        kind, cells, n = match.groups()
        check(kind, int(cells))
        check_seed(seed)
        self.name = name
        self._kind = kind
        self._cells = int(cells)
        self._n = int(n or N_TRAIN)
        if self._n < 1:
            raise DataError(f"{name}: N must be 1 or more, got {n}")
        self._seed = seed
        self._memory_limit = options.memory_limit

    def open(self, *splits: str) -> Paired:
        counts = [self._n if split == "train" else min(self._n, N_HELD_OUT) for split in splits]
        side = side_of(self._cells)
        self._check_memory(sum(counts))
        spatial = np.empty((sum(counts), side, side, 3), np.uint8)
        paths = np.empty((sum(counts), side, side, 1), np.uint8)
        filled, together = 0, _together(side)
        for split, count in zip(splits, counts, strict=True):
            for first in range(0, count, together):
                n = min(together, count - first)
                grids = make(
                    n, self._cells, self._kind, seed=self._seed, split=split, first=first
                )  # fmt: skip
                spatial[filled : filled + n] = grids.spatial
                paths[filled : filled + n] = shortest_paths(grids)
                filled += n
        sides = (ArrayDataset(self.name, "+".join(splits), images) for images in (paths, spatial))
        return Paired(*sides)

    def _check_memory(self, n: int) -> None:
        side = side_of(self._cells)
        needed = side**2 * (_KEPT * n + _WORKING * min(n, _together(side)))
        if needed > self._memory_limit:
            raise DataError(
                f"{self.name}: {n} mazes of {side}×{side} pixels take {needed / 2**30:.3g} GiB, "
                f"more than the memory_limit of {self._memory_limit / 2**30:.3g} GiB; ask for "
                f"fewer (mazes:{self._kind}:{self._cells}:N) or smaller ones"
            )


def _together(side: int) -> int:
    """How many mazes of this size are drawn together."""
    return max(1, _PIXELS // side**2)


def shortest_paths(grids: Grids) -> UInt8[np.ndarray, "n height width 1"]:
    """The images of the paths: see ``Mazes``."""
    field = distances(~grids.walls, grids.goal)
    return descent(field, grids.start)[..., None].astype(np.uint8) * 255
