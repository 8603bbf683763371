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
from gen_jax.data.mazes.grids import Grids, dotted, drawn, first
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

    ``path`` shows a walk's pixels, ``length`` counts its steps. A walk is ``drawable`` where its
    picture is a valid path: see ``Verdicts``. Others visit a pixel twice, as where a way-point lies
    in a dead end, or run beside themselves, and their length is a lower bound of what a path needs.
    """

    path: Paths
    length: Int[np.ndarray, " n"]
    drawable: Bool[np.ndarray, " n"]


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
        """Valid, through all way-points, past what is forbidden, and as short as can be: which of
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
    asked, barred = _points(grids, way_points), _points(grids, forbidden)
    length = _at(_reached(grids, drawing), grids.goal)
    return Verdicts(
        valid=_are_paths(grids, drawing),
        reaches=length >= 0,
        passes=_everywhere(drawing | ~dotted(asked, drawing.shape)),
        avoids=_everywhere(~(drawing & dotted(barred, drawing.shape))),
        length=np.where(length >= 0, length, np.nan),
        optimal_length=_shortest(grids, asked, barred).length,
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
    return _shortest(grids, _points(grids, through), _points(grids, avoiding))


def _shortest(grids: Grids, stops: Points, barred: Points) -> Plans:
    walls = grids.walls | dotted(barred, grids.walls.shape)
    _check_stops(grids, stops, walls)
    origins = np.concatenate([stops, grids.start[:, None]], 1)
    targets = np.concatenate([stops, grids.goal[:, None]], 1)
    fields = np.stack([distances(~walls, target) for target in np.moveaxis(targets, 1, 0)])
    legs = np.stack(  # [n, origins, targets]
        [[_at(field, origin) for field in fields] for origin in np.moveaxis(origins, 1, 0)]
    ).transpose(2, 0, 1)
    if at := first(legs[:, ::-1, -1] < 0):  # the start before the way-points
        number, origin = at[0], origins[at[0], -1 - at[1]]
        past = " past what is forbidden" if barred.size else ""
        raise DataError(
            f"maze {number} has no path from {_place(origin)} to its goal, "
            f"{_place(grids.goal[number])}{past}"
        )
    orders = _orders(legs)
    path, rows = np.zeros_like(walls), np.arange(len(grids))
    for a, b in itertools.pairwise(orders.T):
        path |= descent(fields[b, rows], origins[rows, a])
    images = path[..., None].astype(np.uint8) * 255
    return Plans(images, _lengths(legs, orders), _are_paths(grids, path))


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


def _points(grids: Grids, points: Points | None) -> Points:
    """None for each maze where none are given.

    Raises ``DataError`` unless they are integers [n, k, 2], and in the image.
    """
    if points is None:
        return np.zeros((len(grids), 0, 2), np.int64)
    n, height, width = grids.walls.shape
    if points.ndim != 3 or points.shape[::2] != (n, 2) or points.dtype.kind not in "iu":
        raise DataError(
            f"points of {n} mazes are integers [{n}, k, 2], rows and columns, got {points.dtype} "
            f"{list(points.shape)}"
        )
    outside = (points < 0) | (points >= (height, width))
    if at := first(outside[..., 0] | outside[..., 1]):
        raise DataError(f"maze {at[0]} is {height}×{width} and has no pixel {_place(points[at])}")
    return points


def _check_stops(grids: Grids, stops: Points, walls: Masks) -> None:
    """Raises ``DataError`` for way-points, a start or a goal where no path may lead."""
    if stops.shape[1] > MOST_WAY_POINTS:
        raise DataError(f"a path has at most {MOST_WAY_POINTS} way-points, got {stops.shape[1]}")
    for noun, points in (
        ("way-point", stops),
        ("start", grids.start[:, None]),
        ("goal", grids.goal[:, None]),
    ):
        for where, why in ((grids.walls, "lies in a wall"), (walls, "is forbidden")):
            if at := first(where[np.arange(len(points))[:, None], points[..., 0], points[..., 1]]):
                raise DataError(f"maze {at[0]}: the {noun} {_place(points[at])} {why}")


def _orders(legs: Int[np.ndarray, "n stops stops"]) -> Int[np.ndarray, "n stops+1"]:
    """The order with the shortest sum of legs: the start, the way-points by number, the goal.

    Both ends have the number after the last way-point's.
    """
    end = legs.shape[1] - 1
    orders = np.array([(end, *order, end) for order in itertools.permutations(range(end))])
    every = np.stack([_lengths(legs, order[None]) for order in orders])
    return orders[every.argmin(0)]


def _lengths(
    legs: Int[np.ndarray, "n stops stops"], orders: Int[np.ndarray, "#n stops+1"]
) -> Int[np.ndarray, " n"]:
    rows = np.arange(len(legs))
    return np.stack([legs[rows, a, b] for a, b in itertools.pairwise(orders.T)]).sum(0)


def _reached(grids: Grids, drawing: Masks) -> Int[np.ndarray, "n height width"]:
    """Steps from the start on what is drawn and free, or an end; -1 where none lead."""
    return distances(~grids.walls & (drawing | _ends(grids)), grids.start)


def _are_paths(grids: Grids, drawing: Masks) -> Bool[np.ndarray, " n"]:
    """Whether nothing but a path is drawn: see ``Verdicts``."""
    ends = _ends(grids)
    joined = _neighbours(drawing) == np.where(ends, 1, 2)
    return _everywhere(np.where(drawing, joined & (_reached(grids, drawing) >= 0), ~ends))


def _ends(grids: Grids) -> Masks:
    return dotted(np.stack([grids.start, grids.goal], 1), grids.walls.shape)


def _everywhere(masks: Masks) -> Bool[np.ndarray, " n"]:
    return np.logical_and.reduce(masks, (1, 2))


def _neighbours(masks: Masks) -> Int[np.ndarray, "n height width"]:
    """How many of a pixel's four neighbours are in the mask."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
    beside = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return beside + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]


def _at(fields: np.ndarray, points: Int[np.ndarray, "n 2"]) -> np.ndarray:
    return fields[np.arange(len(points)), points[:, 0], points[:, 1]]


def _place(point: Int[np.ndarray, " 2"]) -> str:
    return f"({point[0]}, {point[1]})"
