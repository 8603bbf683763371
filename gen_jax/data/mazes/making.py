"""Mazes drawn at random: each follows from a seed, its kind, size and split, and its number.

- ``perfect``: one path leads from each cell to each other. It is the minimum spanning tree of walls
  with random weights (Kruskal's algorithm). All spanning trees occur, but not equally often (Tapp
  2024, arXiv 2401.17947): of 8 cells a side, paths have 22.4 steps on average and 31 % of the cells
  are dead ends, where trees drawn uniformly (Wilson, Aldous and Broder) have 23.7 steps and 30 %.
- ``loops``: a perfect maze without a fifth of its remaining walls, so that several paths lead to
  most cells, often several shortest ones.
- ``rooms``: obstacles of one pixel each at random places, after the grid-world of value iteration
  networks (Tamar et al. 2016), without its diagonal steps. A pixel is an obstacle with a
  probability that is drawn for each room, between 0.1 and 0.4.
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from gen_jax.data.errors import DataError
from gen_jax.data.mazes.grids import Grids, Points
from gen_jax.data.mazes.routes import distances
from gen_jax.data.permutation import check_seed, random_words

Masks = Bool[np.ndarray, "n side side"]
Uniform = Float[np.ndarray, "n 2 inner inner"]

SMALLEST = 3  # of 2 cells a side there are four perfect mazes, of which no splits can be made
LOOPS = 0.2  # of a perfect maze's remaining walls
OBSTACLES = (0.1, 0.4)  # the least and greatest probability; from 0.41 on, large rooms fall apart
SPLITS = ("train", "validation", "test")
TENTHS = ("test", "validation")  # each holds one in ten of all mazes, "train" the others
_MAZES = 6  # separates this use of a seed from the others


def side_of(cells: int) -> int:
    """How many pixels there are along a maze's side: cells, walls between them and around."""
    return 2 * cells + 1


def make(
    n: int,
    cells: int,
    kind: str = "perfect",
    *,
    seed: int = 0,
    split: str = "train",
    first: int = 0,
) -> Grids:
    """Draws the mazes ``first``, ``first`` + 1, ... of a split, [n, S, S] with S = 2 ``cells`` + 1.

    Start and goal are two cells (in rooms, free pixels) at least ``cells`` steps apart, a step
    being one pixel: the start is any of them, the goal any that can be reached and is far enough. A
    maze without such a goal is drawn again.

    A hash of a maze's walls says which split it belongs to, so that mazes of two splits never have
    the same walls, whatever the seeds and numbers. Within a split mazes are independent draws, and
    the smallest recur.

    Raises ``DataError`` for fewer than 3 cells, an unknown kind or split, and a wrong seed.
    """
    check(kind, cells)
    check_seed(seed)
    if split not in SPLITS:
        raise DataError(f"the split of a maze is {', '.join(SPLITS)}, got {split!r}")
    side = side_of(cells)
    walls = np.ones((n, side, side), bool)
    start, goal = np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64)
    purpose = (_MAZES, sorted(KINDS).index(kind), SPLITS.index(split))
    left, attempt = np.arange(n), 0  # those that are still to be drawn
    while left.size:
        ends, layout = _uniform(left + first, side - 2, seed, *purpose, attempt=attempt)
        inner, places = KINDS[kind](layout)
        kept = np.flatnonzero(_splits_of(inner) == SPLITS.index(split))
        framed, places = (
            np.pad(masks[kept], ((0, 0), (1, 1), (1, 1)), constant_values=value)
            for masks, value in ((inner, True), (places, False))
        )
        starts, goals, found = _ends(framed, places, ends[kept], cells)
        drawn = left[kept[found]]
        walls[drawn], start[drawn], goal[drawn] = framed[found], starts[found], goals[found]
        left = np.setdiff1d(left, drawn, assume_unique=True)
        attempt += 1
    return Grids(walls, start, goal)


def check(kind: str, cells: int) -> None:
    """Raises ``DataError`` for an unknown kind of maze, and for too few cells."""
    if kind not in KINDS:
        raise DataError(f"the kind of a maze is {', '.join(KINDS)}, got {kind!r}")
    if cells < SMALLEST:
        raise DataError(f"a maze must have at least {SMALLEST} cells a side, got {cells}")


def _uniform(
    numbers: Int[np.ndarray, " n"], inner: int, seed: int, *purpose: int, attempt: int
) -> tuple[Float[np.ndarray, "n 2"], Uniform]:
    """Numbers in [0, 1) of each maze: two for its ends, and two for each pixel within its frame."""
    count = 2 + 2 * inner**2
    words = [random_words(count, seed, *purpose, i, attempt) for i in numbers.tolist()]
    uniform = (np.stack(words) >> 11) * 2.0**-53
    return uniform[:, :2], uniform[:, 2:].reshape(-1, 2, inner, inner)


def _perfect(uniform: Uniform) -> tuple[Masks, Masks]:
    from scipy import sparse
    from scipy.sparse import csgraph

    weight = uniform[:, 0] + 2.0**-53  # SciPy takes an edge of weight zero for none
    places = np.zeros(weight.shape, bool)
    places[:, ::2, ::2] = True
    number = np.arange(places.sum()).reshape(places[:, ::2, ::2].shape)  # of each cell of all mazes
    pairs = (
        (number[:, :, :-1], number[:, :, 1:], weight[:, ::2, 1::2]),
        (number[:, :-1], number[:, 1:], weight[:, 1::2, ::2]),
    )
    a, b, weights = (
        np.concatenate([part.reshape(-1) for part in parts]) for parts in zip(*pairs, strict=True)
    )
    graph = sparse.coo_array((weights, (a, b)), shape=(number.size, number.size))
    tree = csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
    of_a, of_b = (np.array(np.unravel_index(cell, number.shape)) for cell in tree.coords)
    walls = ~places
    # Halfway between two cells, which are two pixels apart.
    walls[of_a[0], of_a[1] + of_b[1], of_a[2] + of_b[2]] = False
    return walls, places


def _loops(uniform: Uniform) -> tuple[Masks, Masks]:
    walls, places = _perfect(uniform)
    removable = walls.copy()
    removable[:, 1::2, 1::2] = False  # the corners of cells
    order = np.where(removable, uniform[:, 1], 1.0).reshape(len(walls), -1).argsort(1)
    n = max(1, round(LOOPS * removable[0].sum()))
    np.put_along_axis(walls.reshape(len(walls), -1), order[:, :n], False, 1)
    return walls, places


def _rooms(uniform: Uniform) -> tuple[Masks, Masks]:
    low, high = OBSTACLES
    share = low + (high - low) * uniform[:, 1, :1, :1]
    walls = uniform[:, 0] < share
    return walls, ~walls


# From random numbers to walls and to where start and goal may be, both within the frame of walls.
KINDS: Mapping[str, Callable[[Uniform], tuple[Masks, Masks]]] = {
    "perfect": _perfect,
    "loops": _loops,
    "rooms": _rooms,
}


def _splits_of(walls: Masks) -> Int[np.ndarray, " n"]:
    """The number of the split that each maze belongs to."""
    packed = np.packbits(walls.reshape(len(walls), -1), axis=1)
    hashes = [hashlib.sha256(bits.tobytes()).digest()[:8] for bits in packed]
    tenths = [int.from_bytes(digest, "little") % 10 for digest in hashes]
    names = [TENTHS[tenth] if tenth < len(TENTHS) else "train" for tenth in tenths]
    return np.array([SPLITS.index(name) for name in names], np.int64)


def _ends(
    walls: Masks, places: Masks, uniform: Float[np.ndarray, "n 2"], cells: int
) -> tuple[Points, Points, Bool[np.ndarray, " n"]]:
    """Start and goal of each maze, and whether there are two that are far enough apart."""
    start, some = _one_of(places, uniform[:, 0])
    far = places & (distances(~walls, start) >= cells)
    goal, found = _one_of(far, uniform[:, 1])
    return start, goal, some & found


def _one_of(
    masks: Masks, uniform: Float[np.ndarray, " n"]
) -> tuple[Points, Bool[np.ndarray, " n"]]:
    """One of the pixels of each mask, and whether it has any."""
    n, height, width = masks.shape
    counts = masks.reshape(n, height * width).cumsum(1)  # of no mask, too
    total = counts[:, -1]
    flat = (counts > np.floor(uniform * total)[:, None]).argmax(1)
    return np.stack(np.unravel_index(flat, (height, width)), -1), total > 0
