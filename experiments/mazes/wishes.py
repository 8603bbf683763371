"""What plans are asked to do: pass way-points, and keep off forbidden pixels."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gen_jax import autoregressive
from gen_jax.data.mazes import plans
from gen_jax.data.mazes.grids import Grids, dotted
from gen_jax.data.mazes.routes import distances

TRIES = 12  # points tried in each maze, before what is there anyway
Spatial = UInt8[np.ndarray, "n height width 3"]
Points = Int[np.ndarray, "n k 2"]


@dataclasses.dataclass(frozen=True)
class Wishes:
    """Way-points and forbidden pixels, by row and column, of the mazes ``numbers``.

    ``changing`` are those that another path than the data's is needed for: a longer one through
    way-points, or one past a forbidden pixel of the data's path. The others are hints: a plan as
    short as the data's serves, and can only be helped by them. ``tried`` counts the mazes in which
    changing ones were looked for.
    """

    numbers: Int[np.ndarray, " n"]
    way_points: Points
    forbidden: Points
    changing: Bool[np.ndarray, " n"]
    tried: int

    def telling(self) -> "Wishes":
        """Those that are no hints, or all where there are none but hints."""
        if not self.changing.any():
            return self
        kept = self.changing
        points = self.way_points[kept], self.forbidden[kept]
        return Wishes(self.numbers[kept], *points, kept[kept], self.tried)

    def evidence(self, shape: tuple[int, ...]) -> autoregressive.Evidence:
        """Images [n, H, W, 1] that have the way-points on and the forbidden pixels off."""
        on, off = (dotted(points, shape)[..., None] for points in (self.way_points, self.forbidden))
        return autoregressive.Evidence(on.astype(np.uint8) * 255, on | off)  # pyright: ignore -- NumPy's, too


def way_points(spatial: Spatial, k: int, rng: np.random.Generator) -> Wishes:
    """``k`` way-points of each maze through which the shortest walk can be drawn.

    Of those tried that can be drawn they are the first for which a longer path is needed. Only
    mazes that have such are kept, unless none has, as no perfect maze does: then they are the first
    of those tried that can be drawn, else pixels of the shortest path at even distances, and mazes
    whose shortest path has too few pixels are left out.
    """
    grids = Grids.read(spatial)
    usual = plans.shortest(spatial)
    numbers = np.flatnonzero(usual.length > k)  # the pixels between both ends
    grids, spatial, usual_length = _of(grids, numbers), spatial[numbers], usual.length[numbers]
    points = _evenly(usual.path[numbers, ..., 0] > 0, grids, k)
    rank = np.zeros(len(numbers), int)  # 1: drawable, 2: and longer than the shortest path
    free = (distances(~grids.walls, grids.start) >= 0) & ~_ends(grids)
    for _ in range(TRIES):
        tried = _random(free, k, rng)
        found = plans.shortest(spatial, tried)
        ranks = np.where(found.drawable, 1 + (found.length > usual_length), 0)
        better = ranks > rank
        points[better], rank[better] = tried[better], ranks[better]
    none = np.zeros((len(numbers), 0, 2), int)
    return Wishes(numbers, points, none, rank == 2, len(numbers)).telling()


def forbidden(spatial: Spatial, rng: np.random.Generator) -> Wishes:
    """A forbidden pixel of each maze, on the data's path where another path leads to the goal.

    Only mazes that have such are kept, unless none has, as no perfect maze does: then it is a pixel
    beside the path, and mazes without one are left out.
    """
    grids = Grids.read(spatial)
    path = plans.shortest(spatial).path[..., 0] > 0
    beside = ~grids.walls & ~path
    on = path & ~_ends(grids)
    numbers = np.flatnonzero(beside.any((1, 2)) & on.any((1, 2)))
    grids, beside, on = _of(grids, numbers), beside[numbers], on[numbers]
    points, blocking = _random(beside, 1, rng), np.zeros(len(numbers), bool)
    rows = np.arange(len(numbers))
    for _ in range(TRIES):
        tried = _random(on, 1, rng)
        field = distances(~grids.walls & ~dotted(tried, grids.walls.shape), grids.goal)
        better = ~blocking & (field[rows, *grids.start.T] >= 0)
        points[better], blocking[better] = tried[better], True
    none = np.zeros((len(numbers), 0, 2), int)
    return Wishes(numbers, none, points, blocking, len(numbers)).telling()


def _of(grids: Grids, numbers: Int[np.ndarray, " n"]) -> Grids:
    return Grids(grids.walls[numbers], grids.start[numbers], grids.goal[numbers])


def _ends(grids: Grids) -> Bool[np.ndarray, "n height width"]:
    return dotted(np.stack([grids.start, grids.goal], 1), grids.walls.shape)


def _random(masks: Bool[np.ndarray, "n height width"], k: int, rng: np.random.Generator) -> Points:
    """``k`` pixels of each mask; it has as many."""
    order = np.where(masks, rng.random(masks.shape), 2.0).reshape(len(masks), -1).argsort(1)[:, :k]
    return np.stack(np.unravel_index(order, masks.shape[1:]), -1)


def _evenly(path: Bool[np.ndarray, "n height width"], grids: Grids, k: int) -> Points:
    """``k`` pixels of each path at even distances, between its ends."""
    steps = distances(path, grids.start)
    length = steps[np.arange(len(path)), *grids.goal.T]
    wanted = (np.arange(1, k + 1) * (length[:, None] + 1)) // (k + 1)
    at = (steps[:, None] == wanted[..., None, None]).reshape(len(path), k, -1).argmax(-1)
    return np.stack(np.unravel_index(at, path.shape[1:]), -1)
