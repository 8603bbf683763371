"""Verdicts on drawn paths, the shortest paths through way-points, and pictures of both."""

import itertools

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.mazes import plans
from gen_jax.data.mazes.making import KINDS, make

ROOM = """
#######
#S....#
#.###.#
#.#...#
#.....#
#.###G#
#######
"""


def maze(drawing):
    """The images [1, ...] of a maze: # is a wall, S the start, G the goal."""
    letters = np.array([list(line) for line in drawing.split()])
    return np.stack([letters == letter for letter in "#SG"], -1).astype(np.uint8)[None] * 255


def path(drawing):
    """The image [1, ...] of a path: x is drawn."""
    letters = np.array([list(line) for line in drawing.split()])
    return (letters == "x").astype(np.uint8)[None, ..., None] * 255


def judged(drawing, **points):
    given = {name: np.array([pixels]) for name, pixels in points.items()}
    verdicts = plans.check(maze(ROOM), path(drawing), **given)
    fields = ("valid", "reaches", "passes", "avoids", "optimal")
    return [name for name in fields if getattr(verdicts, name)[0]], verdicts


RIGHTWARDS = """
.......
.xxxxx.
.....x.
.....x.
.....x.
.....x.
.......
"""
DOWNWARDS = """
.......
.x.....
.x.....
.x.....
.xxxxx.
.....x.
.......
"""


def test_either_of_two_shortest_paths_is_optimal():
    for drawing in (RIGHTWARDS, DOWNWARDS):
        names, verdicts = judged(drawing)
        assert names == ["valid", "reaches", "passes", "avoids", "optimal"]
        assert (verdicts.length, verdicts.optimal_length, verdicts.excess) == (8, 8, 0)
    assert verdicts.optimal_length.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "names", "length"),
    [
        ({(4, 3): "."}, [], np.nan),  # a gap
        ({(5, 5): "."}, ["reaches"], 8),  # without the goal
        ({(1, 1): "."}, ["reaches"], 8),
        ({(1, 2): "x"}, ["reaches"], 8),  # a branch
        ({(1, 4): "x"}, ["reaches"], 8),  # a pixel apart
        ({(0, 0): "x"}, ["reaches"], 8),  # a wall
        ({(3, 3): "x"}, ["reaches"], 8),
        ({(3, 1): ".", (2, 2): "x", (3, 2): "x", (2, 1): "."}, [], np.nan),  # through walls
        ({(3, 3): "x", (3, 4): "x", (3, 5): "x", (4, 4): "."}, ["valid", "reaches"], 10),
        ({(3, 4): "x", (3, 5): "x"}, ["reaches"], 8),  # beside itself
    ],
)
def test_what_is_wrong_with_a_path(changes, names, length):
    letters = [list(line) for line in DOWNWARDS.split()]
    for (row, column), letter in changes.items():
        letters[row][column] = letter
    found, verdicts = judged("\n".join(map("".join, letters)))
    assert found == [*names, "passes", "avoids"]
    np.testing.assert_array_equal(verdicts.length, [length])
    np.testing.assert_array_equal(verdicts.excess, [length - 8])


def test_a_path_with_a_ring_beside_it_is_not_valid():
    spatial = maze("S..G\n....\n.##.\n....\n....")
    ring = path("xxxx\n....\nxx..\nxx..\n....")
    assert not plans.check(spatial, ring).valid  # the ring is in a wall
    spatial[..., 0] = 0
    verdicts = plans.check(spatial, ring)
    assert (verdicts.valid, verdicts.reaches) == (False, True)  # each pixel has two neighbours


def test_nothing_drawn_is_no_path():
    for level, valid in ((127, []), (128, ["valid", "reaches"])):
        drawn = np.where(path(DOWNWARDS) > 0, level, 0).astype(np.uint8)
        verdicts = plans.check(maze(ROOM), drawn)
        assert [name for name in ("valid", "reaches") if getattr(verdicts, name)] == valid


def test_way_points_and_forbidden_pixels():
    on_the_right, below = [(3, 5)], [(4, 2)]
    assert judged(DOWNWARDS, way_points=below)[0][-1] == "optimal"
    names, verdicts = judged(RIGHTWARDS, way_points=below)
    assert names == ["valid", "reaches", "avoids"]
    assert verdicts.optimal_length == 8
    assert judged(DOWNWARDS, forbidden=on_the_right)[0][-1] == "optimal"
    names, verdicts = judged(RIGHTWARDS, forbidden=on_the_right)
    assert names == ["valid", "reaches", "passes"]
    assert verdicts.optimal_length == 8
    names, verdicts = judged(DOWNWARDS, way_points=[(4, 2), (3, 3)])  # with a step up from below
    assert verdicts.optimal_length == 10
    assert names == ["valid", "reaches", "avoids"]


@pytest.mark.parametrize("kind", KINDS)
def test_shortest_walks_pass_their_way_points_in_the_best_order(kind):
    grids = make(12, 4, kind, seed=4)
    rng = np.random.default_rng(0)
    free = [np.argwhere(np.isfinite(_steps(~walls, start)))
            for walls, start in zip(grids.walls, grids.start, strict=True)]  # fmt: skip
    through = np.stack([rng.permutation(pixels)[:3] for pixels in free])
    found = plans.shortest(grids.spatial, through)
    every = zip(grids.walls, grids.start, through, grids.goal, strict=True)
    for i, (walls, start, points, goal) in enumerate(every):
        lengths = []
        for order in itertools.permutations(points.tolist()):
            stops = [start.tolist(), *order, goal.tolist()]
            legs = (_steps(~walls, a)[tuple(b)] for a, b in itertools.pairwise(stops))
            lengths.append(sum(legs))
        assert found.length[i] == min(lengths)
        pixels = found.path[i, ..., 0] > 0
        assert not (pixels & walls).any()
        assert pixels[tuple(points.T)].all()
        assert pixels.sum() <= found.length[i] + 1
    verdicts = plans.check(grids.spatial, found.path, through)
    assert verdicts.passes.all()
    assert verdicts.reaches.all()
    np.testing.assert_array_equal(verdicts.optimal, found.drawable)


def test_a_way_point_in_a_dead_end_is_walked_to_and_back():
    spatial = maze("#####\n#S.G#\n##.##\n##.##\n#####")
    found = plans.shortest(spatial, np.array([[(3, 2)]]))
    assert (found.length, found.drawable) == (6, False)
    assert found.path.sum() == 5 * 255
    verdicts = plans.check(spatial, found.path, np.array([[(3, 2)]]))
    assert (verdicts.valid, verdicts.passes, verdicts.optimal) == (False, True, False)
    on_it = np.array([[(1, 1), (1, 2), (1, 3), (1, 2)]])  # ends, and one twice
    assert plans.shortest(spatial, on_it).length == 2
    assert plans.shortest(spatial, on_it).drawable


def test_a_walk_beside_itself_is_no_path_that_can_be_drawn():
    spatial = maze("######\n#S..G#\n##..##\n##..##\n######")
    found = plans.shortest(spatial, np.array([[(3, 2), (3, 3)]]))
    assert found.length == 7  # down and up again, each pixel once
    assert found.path.sum() == 8 * 255
    assert not found.drawable
    assert plans.shortest(spatial).drawable


def test_what_is_forbidden_is_avoided():
    grids = make(40, 6, "loops", seed=2)
    plain = plans.shortest(grids.spatial)
    middle = [np.argwhere(pixels[..., 0])[4:5] for pixels in plain.path]
    around = 0
    for spatial, points, before in zip(grids.spatial, middle, plain.length, strict=True):
        try:
            found = plans.shortest(spatial[None], avoiding=points[None])
        except data.DataError as error:
            assert "forbidden" in str(error)  # noqa: PT017 -- either may be right
        else:
            around += 1
            assert found.length >= before
            assert not found.path[0][tuple(points[0])]
            verdicts = plans.check(spatial[None], found.path, forbidden=points[None])
            assert verdicts.optimal
    assert around > 10


@pytest.mark.parametrize(
    ("drawing", "through", "avoiding", "message"),
    [
        ("S#G", [], [], r"maze 0 has no path from \(0, 0\) to its goal, \(0, 2\)"),
        ("S.G", [], [(0, 1)], r"maze 0 has no path from \(0, 0\) to its goal, \(0, 2\) past what "
         "is forbidden"),
        ("S.G#.", [(0, 4)], [], r"maze 0 has no path from \(0, 4\) to its goal, \(0, 2\)"),
        ("S.G#", [(0, 3)], [], r"maze 0: the way-point \(0, 3\) lies in a wall"),
        ("S.G", [(0, 1)], [(0, 1)], r"maze 0: the way-point \(0, 1\) is forbidden"),
        ("S.G", [], [(0, 2)], r"maze 0: the goal \(0, 2\) is forbidden"),
        ("S.G", [(0, 3)], [], r"maze 0 is 1×3 and has no pixel \(0, 3\)"),
        ("S.G", [(0, 1)] * 7, [], "a path has at most 6 way-points, got 7"),
        ("S..", [], [], "maze 0 has 0 goals; it needs one"),
        ("S.GG", [], [], "maze 0 has 2 goals; it needs one"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be(drawing, through, avoiding, message):
    spatial = maze(drawing)
    given = [np.array(points, np.int64).reshape(1, -1, 2) for points in (through, avoiding)]
    with pytest.raises(data.DataError, match=f"^{message}$"):
        plans.shortest(spatial, *given)
    with pytest.raises(data.DataError, match=f"^{message}$"):
        plans.check(spatial, np.zeros_like(spatial[..., :1]), *given)


def test_messages_name_the_maze():
    spatial = np.concatenate([maze("S.G."), maze("GS.#"), maze("S#G.")])
    with pytest.raises(data.DataError, match=r"^maze 2 has no path from \(0, 0\)"):
        plans.shortest(spatial)
    with pytest.raises(data.DataError, match=r"^maze 1: the way-point \(0, 3\) lies in a wall$"):
        plans.shortest(spatial, np.full((3, 1, 2), (0, 3)))


def test_images_that_are_no_mazes_or_paths():
    spatial = maze("S.G")
    wall, together = spatial.copy(), maze("S..")
    wall[0, 0, 0, 0] = 255
    together[..., 2] = together[..., 1]
    for images, message in (
        (spatial[..., :2], r"mazes are uint8 \[n, H, W, 3\] \(walls, .*, got uint8 \[1, 1, 3, 2\]"),
        (spatial / 255.0, r"mazes are uint8 .*, got float64 \[1, 1, 3, 3\]"),
        (wall, r"maze 0 has its start in a wall, at \(0, 0\)"),
        (together, "maze 0 has its start and its goal in one pixel"),
    ):
        with pytest.raises(data.DataError, match=f"^{message}$"):
            plans.shortest(images)
    for paths in (spatial, np.zeros((2, 1, 3, 1), np.uint8), np.zeros((1, 1, 3, 1))):
        with pytest.raises(data.DataError, match=r"^paths through .* uint8 \[1, 1, 3, 1\], got "):
            plans.check(spatial, paths)
    for points in (np.zeros((1, 2), int), np.zeros((2, 1, 2), int), np.zeros((1, 1, 2))):
        with pytest.raises(data.DataError, match=r"^points of 1 mazes are integers \[1, k, 2\], "):
            plans.shortest(spatial, points)


def test_no_mazes_have_no_verdicts():
    none = maze(ROOM)[:0]
    assert plans.check(none, none[..., :1]).optimal.shape == (0,)
    assert plans.shortest(none).path.shape == (0, 7, 7, 1)
    assert plans.picture(none).shape == (0, 7, 7, 3)


def test_a_picture_shows_what_is_right_wrong_and_missing():
    spatial, drawing, truth = maze("#S..\n#..G"), path("xx..\n.x.."), path(".xxx\n...x")
    wall, free, start, goal = plans.WALL, plans.FREE, plans.START, plans.GOAL
    right, wrong, missing = plans.RIGHT, plans.WRONG, plans.MISSING
    for given, expected in (
        ((), [[wall, start, free, free], [wall, free, free, goal]]),
        ((drawing,), [[wrong, start, free, free], [wall, right, free, goal]]),
        ((drawing, truth), [[wrong, start, missing, missing], [wall, wrong, free, goal]]),
        ((truth, truth), [[wall, start, right, right], [wall, free, free, goal]]),
    ):
        picture = plans.picture(spatial, *given)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, [expected])


def _steps(free, point):
    """Distances from a pixel by the plainest search there is, infinite where none lead."""
    found = np.full(free.shape, np.inf)
    found[tuple(point)] = 0
    queue = [tuple(point)]
    for row, column in queue:
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if free[near] and np.isinf(found[near]):
                found[near] = found[row, column] + 1
                queue.append(near)
    return found
