"""Walks through mazes, guided by where paths are likely."""

import numpy as np
from jaxtyping import Float, UInt8

from gen_jax.data.mazes.grids import Grids
from gen_jax.data.mazes.routes import STEPS


def guided(
    spatial: UInt8[np.ndarray, "n height width 3"], marginals: Float[np.ndarray, "n height width"]
) -> UInt8[np.ndarray, "n height width 1"]:
    """Walks from each start, by steps to the free neighbour with the greatest marginal.

    No pixel is visited twice; of equal neighbours the first is taken of up, left, right and down. A
    walk ends at the goal, or where no neighbour is left. It never turns back, so that it shows what
    the marginals know, and not what a search would find.
    """
    grids = Grids.read(spatial)
    n, height, width = grids.walls.shape
    frame = ((0, 0), (1, 1), (1, 1))
    free = np.pad(~grids.walls, frame)  # and not yet visited
    weight = np.pad(np.asarray(marginals, np.float64), frame)
    path = np.zeros(free.shape, bool)
    steps = np.array(STEPS)
    maze, here = np.arange(n), grids.start + 1
    goal = grids.goal + 1
    while True:
        path[maze, *here.T], free[maze, *here.T] = True, False
        near = here[:, None] + steps
        at = (maze[:, None], near[..., 0], near[..., 1])
        going = (here != goal[maze]).any(1) & free[at].any(1)
        if not going.any():
            return path[:, 1 : height + 1, 1 : width + 1, None].astype(np.uint8) * 255
        chosen = np.where(free[at], weight[at], -np.inf).argmax(1)
        maze, here = maze[going], near[np.arange(len(near)), chosen][going]
