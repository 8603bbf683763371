"""Mazes: their kinds, what follows from their seed, and that splits share none."""

import hashlib

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from gen_jax import data
from gen_jax.data.mazes import routes
from gen_jax.data.mazes.grids import Grids
from gen_jax.data.mazes.making import KINDS, SPLITS, make


def graph(free):
    """The graph of one grid's pixels, in which free neighbours are joined."""
    number = np.arange(free.size).reshape(free.shape)
    right, down = free[:, :-1] & free[:, 1:], free[:-1] & free[1:]
    a = np.concatenate([number[:, :-1][right], number[:-1][down]])
    b = np.concatenate([number[:, 1:][right], number[1:][down]])
    return sparse.csr_array((np.ones(len(a)), (a, b)), shape=(free.size, free.size))


def steps(free, point):
    """What SciPy's search says the distances from a point are, infinite where none lead."""
    flat = np.ravel_multi_index(tuple(point), free.shape)
    found = csgraph.dijkstra(graph(free), directed=False, indices=flat, unweighted=True)
    return found.reshape(free.shape)


def spanned(walls):
    """The connected components of the free pixels, and how many passages join two cells."""
    components, labels = csgraph.connected_components(graph(~walls), directed=False)
    passages = (~walls[1:-1:2, 2:-1:2]).sum() + (~walls[2:-1:2, 1:-1:2]).sum()
    return components - walls.sum(), passages, labels


@pytest.mark.parametrize("cells", [3, 4, 9])
def test_perfect_mazes_are_trees(cells):
    for walls in make(20, cells).walls:
        assert not walls[1::2, 1::2].any()
        assert walls[::2, ::2].all()
        components, passages, _ = spanned(walls)
        assert components == 1
        assert passages == cells**2 - 1


@pytest.mark.parametrize("cells", [3, 4, 9])
def test_mazes_with_loops_have_a_fifth_of_the_other_walls_less(cells):
    loops = max(1, round(0.2 * (cells - 1) ** 2))
    for walls in make(20, cells, "loops").walls:
        assert walls[::2, ::2].all()
        components, passages, _ = spanned(walls)
        assert components == 1
        assert passages == cells**2 - 1 + loops


def test_rooms_have_obstacles_of_any_shape_and_share():
    walls = make(200, 8, "rooms").walls
    shares = walls[:, 1:-1, 1:-1].mean((1, 2))
    assert 0.04 < shares.min() < 0.13
    assert 0.33 < shares.max() < 0.47
    often = walls[:, 1:-1, 1:-1].mean(0)
    assert often.min() > 0.12  # pixels that are cells elsewhere, too
    assert often.max() < 0.38


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cells", [3, 6])
def test_start_and_goal_are_apart_and_joined(kind, cells):
    grids = make(40, cells, kind, seed=3)
    for walls, start, goal in zip(grids.walls, grids.start, grids.goal, strict=True):
        assert walls[[0, -1]].all()
        assert walls[:, [0, -1]].all()
        assert not walls[tuple(start)]
        assert cells <= steps(~walls, start)[tuple(goal)] < np.inf
    if kind != "rooms":
        assert (np.concatenate([grids.start, grids.goal]) % 2 == 1).all()
    for ends in (grids.start, grids.goal):
        corners = ends.min(0).tolist(), ends.max(0).tolist()
        assert corners == ([1, 1], [2 * cells - 1] * 2)  # anywhere


def test_all_perfect_mazes_of_three_cells_occur():
    walls = np.concatenate([make(1500, 3, split=split).walls for split in SPLITS])
    packed = np.packbits(walls.reshape(len(walls), -1), axis=1)
    assert len(np.unique(packed, axis=0)) == 192  # by Kirchhoff's theorem


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_splits_share_a_maze_whatever_the_seeds(kind):
    seen = {}
    for seed in (0, 1):
        for split in SPLITS:
            walls = make(300, 3, kind, seed=seed, split=split).walls
            seen.setdefault(split, set()).update(maze.tobytes() for maze in walls)
    assert all(len(mazes) > 3 for mazes in seen.values())
    assert len(set().union(*seen.values())) == sum(map(len, seen.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_maze_is_a_function_of_its_seed_split_and_number(kind):
    def images(n, **options):
        return make(n, 5, kind, **options).spatial

    every = images(30, seed=2)
    np.testing.assert_array_equal(images(30, seed=2), every)
    np.testing.assert_array_equal(images(4, seed=2, first=11), every[11:15])
    assert len(np.unique(every, axis=0)) == 30
    for other in (
        images(30, seed=1),
        images(30, seed=2, split="test"),
        images(30, seed=2, first=1),
    ):
        assert (other != every).any((1, 2, 3)).all()


def test_mazes_stay_the_same_wherever_they_are_drawn():
    spatial = np.concatenate([make(8, 5, kind).spatial for kind in KINDS])
    assert hashlib.sha256(spatial.tobytes()).hexdigest()[:16] == "a32620023fdd4183"


def test_images_of_mazes_are_read_back():
    grids = make(10, 4, "rooms")
    assert grids.spatial.dtype == np.uint8
    assert set(np.unique(grids.spatial)) == {0, 255}
    again = Grids.read(grids.spatial)
    for name in ("walls", "start", "goal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(grids, name))
    assert len(Grids.read(grids.spatial[:0])) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2), "a maze must have at least 3 cells a side, got 2"),
        ((1, 4, "round"), "the kind of a maze is perfect, loops, rooms, got 'round'"),
    ],
)
def test_mazes_that_cannot_be(arguments, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        make(*arguments)
    with pytest.raises(data.DataError, match=r"^the split of a maze is .*, got 'dev'$"):
        make(1, 4, split="dev")
    with pytest.raises(data.DataError, match=r"^a seed is a whole number"):
        make(1, 4, seed=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_those_of_another_search(kind):
    grids = make(20, 6, kind, seed=5)
    found = routes.distances(~grids.walls, grids.goal)
    for walls, goal, distance in zip(grids.walls, grids.goal, found, strict=True):
        expected = steps(~walls, goal)
        np.testing.assert_array_equal(np.where(np.isinf(expected), -1, expected), distance)


def test_grids_without_a_frame_of_walls_do_not_leak():
    free = np.ones((2, 3, 4), bool)
    free[0, :, 2] = False
    found = routes.distances(free, np.array([[1, 0], [0, 3]]))
    np.testing.assert_array_equal(found[0], [[1, 2, -1, -1], [0, 1, -1, -1], [1, 2, -1, -1]])
    np.testing.assert_array_equal(found[1], [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2]])
    paths = routes.descent(found, np.array([[2, 1], [2, 0]]))
    np.testing.assert_array_equal(paths[0], [[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(paths[1], [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]])  # up first
