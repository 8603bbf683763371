"""Drawn paths through mazes: what is wrong with them, and the shortest there are.

Mazes are images ``spatial`` uint8 [n, H, W, 3] (walls, start, goal), paths are uint8 [n, H, W, 1];
what is drawn has a level of 128 or more. A way-point or a forbidden pixel is its row and column;
each maze has as many as the others. The length of a path is its number of steps, each to one of
four neighbours: one less than its pixels.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gen_jax.data.errors import DataError
from gen_jax.data.mazes.grids import Grids, dotted, drawn, refuse
from gen_jax.data.mazes.routes import descent, distances

Spatial = UInt8[np.ndarray, "n height width 3"]
Paths = UInt8[np.ndarray, "n height width 1"]
Points = Int[np.ndarray, "n k 2"]
Masks = Bool[np.ndarray, "n height width"]

MOST_WAY_POINTS = 6  # all orders of them are compared

WALL, FREE = (45, 45, 55), (255, 255, 255)
START, GOAL = (40, 160, 70), (215, 40, 40)
RIGHT, WRONG, MISSING = (30, 110, 200), (255, 140, 0), (175, 205, 240)


@dataclasses.dataclass(frozen=True)
class Plans:
    """The shortest walks from start to goal that pass all way-points, in whatever order.

    ``length`` counts their steps. A walk that is not ``simple`` visits a pixel twice, as where a
    way-point lies in a dead end: no drawn path is as short in that order of pixels, and perhaps
    none passes the way-points at all; ``path`` then shows the pixels of the walk.
    """

    path: Paths
    length: Int[np.ndarray, " n"]
    simple: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What is right and wrong with each drawn path.

    - ``valid``: what is drawn is a path from start to goal, with both of them, and nothing else.
      None of it is in a wall, the ends have one drawn neighbour each and the others two, and all
      hang together. So a path that runs beside itself is not valid: which way it goes cannot be
      seen, and there is a shorter one.
    - ``reaches``: the goal can be reached from the start on free pixels that are drawn. Anything
      else may be drawn too, and the ends need not be.
    - ``passes``: all way-points are drawn. ``avoids``: no forbidden pixel is.
    - ``length``: of the shortest path on free drawn pixels, NaN where there is none; where the
      drawing is valid, it is the path's.
    - ``optimal_length``: of the shortest walk there is through the way-points and past what is
      forbidden: see ``shortest``.
    """

    valid: Bool[np.ndarray, " n"]
    reaches: Bool[np.ndarray, " n"]
    passes: Bool[np.ndarray, " n"]
    avoids: Bool[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    optimal_length: Int[np.ndarray, " n"]

    @property
    def excess(self) -> Float[np.ndarray, " n"]:
        """Steps more than needed, NaN where the goal is not reached."""
        return self.length - self.optimal_length

    @property
    def optimal(self) -> Bool[np.ndarray, " n"]:
        """Valid, past all way-points and nothing forbidden, and as short as can be: which of
        several shortest paths it is does not matter."""
        return self.valid & self.passes & self.avoids & (self.excess == 0.0)


def check(
    spatial: Spatial,
    paths: Paths,
    way_points: Points | None = None,
    forbidden: Points | None = None,
) -> Verdicts:
    """Judges drawn paths.

    Raises ``DataError`` as ``shortest`` does, and for paths of another number, size or type.
    """
    grids = Grids.read(spatial)
    drawing = drawn(paths, grids)
    ends = dotted(np.stack([grids.start, grids.goal], 1), drawing.shape)
    free = ~grids.walls & (drawing | ends)
    steps = distances(free, grids.start)
    length = _at(steps, grids.goal)
    on_path = np.where(ends, _neighbours(drawing) == 1, _neighbours(drawing) == 2)
    valid = (on_path & free & (steps >= 0) | ~drawing).all((1, 2)) & (drawing | ~ends).all((1, 2))
    asked, barred = (
        np.zeros_like(drawing) if points is None else dotted(points, drawing.shape)
        for points in _within(grids, way_points, forbidden)
    )
    return Verdicts(
        valid=valid,
        reaches=length >= 0,
        passes=(drawing | ~asked).all((1, 2)),
        avoids=~(drawing & barred).any((1, 2)),
        length=np.where(length >= 0, length, np.nan),
        optimal_length=shortest(spatial, way_points, forbidden).length,
    )


def shortest(
    spatial: Spatial, through: Points | None = None, avoiding: Points | None = None
) -> Plans:
    """The shortest walks from start to goal, through way-points and past forbidden pixels.

    Of equally short orders of the way-points it takes the first, as they are given; of equally
    short paths between two points the one whose every step is the first possible of up, left,
    right and down. Without way-points these are the paths of the data set.

    Raises ``DataError`` where no path leads through a maze, for a way-point in a wall, forbidden or
    outside of the image, for more than 6 way-points, and for images that are no mazes.
    """
    grids = Grids.read(spatial)
    through, avoiding = _within(grids, through, avoiding)
    walls = grids.walls
    if avoiding is not None:
        walls = walls | dotted(avoiding, walls.shape)
    stops = np.zeros((len(grids), 0, 2), np.int64) if through is None else through
    _check_stops(grids, stops, walls)
    origins = np.concatenate([stops, grids.start[:, None]], 1)
    targets = np.concatenate([stops, grids.goal[:, None]], 1)
    fields = [distances(~walls, target) for target in np.moveaxis(targets, 1, 0)]
    legs = np.stack(  # [n, origins, targets]
        [[_at(field, origin) for field in fields] for origin in np.moveaxis(origins, 1, 0)]
    ).transpose(2, 0, 1)
    far = legs[:, :, -1] < 0  # from the goal
    past = "" if avoiding is None else " that avoids what is forbidden"
    refuse(far[:, -1], lambda i: f"has no path from {_place(grids.start[i])} to "
           f"{_place(grids.goal[i])}{past}")  # fmt: skip
    refuse(far.any(1), lambda i: f"has no path to the way-point {_place(origins[i][far[i]][0])}"
           f"{past}")  # fmt: skip
    orders = _orders(legs)
    path = np.zeros_like(walls)
    for a, b in itertools.pairwise(orders.T):
        field = np.stack(fields)[b, np.arange(len(grids))]
        path |= descent(field, origins[np.arange(len(grids)), a])
    length = _lengths(legs, orders)
    simple = path.sum((1, 2)) == length + 1
    return Plans(path[..., None].astype(np.uint8) * 255, length, simple)


def picture(
    spatial: Spatial, paths: Paths | None = None, truth: Paths | None = None
) -> UInt8[np.ndarray, "n height width 3"]:
    """Colour pictures of mazes and the paths in them, one pixel for each of the mazes'.

    Walls are dark, starts green, goals red and paths blue. Orange is what is wrong: what is drawn
    in a wall, and where there is a ``truth``, what is drawn beside it. What of the truth is not
    drawn is pale blue.
    """
    grids = Grids.read(spatial)
    none = np.zeros_like(grids.walls)
    drawing = none if paths is None else drawn(paths, grids)
    true = none if truth is None else drawn(truth, grids)
    wrong = drawing & (grids.walls if truth is None else grids.walls | ~true)
    pictures = np.full((*grids.walls.shape, 3), FREE, np.uint8)
    for where, colour in (
        (grids.walls, WALL),
        (true, MISSING),
        (drawing, RIGHT),
        (wrong, WRONG),
        (dotted(grids.start, none.shape), START),
        (dotted(grids.goal, none.shape), GOAL),
    ):
        pictures[where] = colour
    return pictures


def _within(grids: Grids, *given: Points | None) -> list[Points | None]:
    """Points of each maze. Raises ``DataError`` unless they are [n, k, 2] and in the image."""
    for points in given:
        if points is None:
            continue
        if points.ndim != 3 or points.shape[::2] != (len(grids), 2) or points.dtype.kind not in "iu":
            raise DataError(
                f"points of {len(grids)} mazes are integers [{len(grids)}, k, 2] (rows and "
                f"columns), got {points.dtype} {list(points.shape)}"
            )
        outside = ((points < 0) | (points >= grids.walls.shape[1:])).any(-1)
        height, width = grids.walls.shape[1:]
        refuse(outside.any(1), lambda i, points=points, outside=outside: "has no pixel "
               f"{_place(points[i][outside[i]][0])}; it is {height}×{width}")  # fmt: skip
    return list(given)


def _check_stops(grids: Grids, stops: Points, walls: Masks) -> None:
    """Raises ``DataError`` for start, goal or way-points where no path may lead."""
    if stops.shape[1] > MOST_WAY_POINTS:
        raise DataError(
            f"a path has at most {MOST_WAY_POINTS} way-points, got {stops.shape[1]}"
        )
    ends = np.stack([grids.start, grids.goal], 1)
    for noun, points in (("way-point", stops), ("end", ends)):
        rows = np.arange(len(points))[:, None]
        in_wall = grids.walls[rows, points[..., 0], points[..., 1]]
        barred = walls[rows, points[..., 0], points[..., 1]]
        for wrong, why in ((in_wall, "in a wall"), (barred, "among what is forbidden")):
            refuse(
                wrong.any(1),
                lambda i, noun=noun, points=points, wrong=wrong, why=why: (
                    f"has the {noun} {_place(points[i][wrong[i]][0])} {why}"
                ),
            )


def _orders(legs: Int[np.ndarray, "n stops stops"]) -> Int[np.ndarray, "n stops+1"]:
    """The order with the shortest sum of legs: the start, the way-points by number, the goal.

    Both ends have the number after the last way-point's.
    """
    end = legs.shape[1] - 1
    orders = np.array([(end, *order, end) for order in itertools.permutations(range(end))])
    every = np.broadcast_to(orders[:, None], (len(orders), len(legs), end + 2))
    return orders[np.stack([_lengths(legs, order) for order in every]).argmin(0)]


def _lengths(
    legs: Int[np.ndarray, "n stops stops"], orders: Int[np.ndarray, "n stops+1"]
) -> Int[np.ndarray, " n"]:
    rows = np.arange(len(legs))
    return sum(
        (legs[rows, a, b] for a, b in itertools.pairwise(orders.T)), np.zeros(len(legs), np.int64)
    )


def _neighbours(masks: Masks) -> Int[np.ndarray, "n height width"]:
    """How many of a pixel's four neighbours are in the mask."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
    beside = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return beside + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]


def _at(fields: np.ndarray, points: Int[np.ndarray, "n 2"]) -> np.ndarray:
    return fields[np.arange(len(points)), points[:, 0], points[:, 1]]


def _place(point: Int[np.ndarray, " 2"]) -> str:
    return f"({point[0]}, {point[1]})"
