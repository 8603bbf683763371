"""Mazes as the pixels of a grid, and as the images that show them."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gen_jax.data.errors import DataError

Points = Int[np.ndarray, "n 2"]
Images = UInt8[np.ndarray, "n height width channels"]

_DRAWN = 128  # the lowest level that counts as drawn


@dataclasses.dataclass(frozen=True)
class Grids:
    """Mazes of one size: where there are walls, and the row and column of each start and goal.

    Whoever walks through a maze steps from a free pixel to one of its four neighbours.
    """

    walls: Bool[np.ndarray, "n height width"]
    start: Points
    goal: Points

    def __len__(self) -> int:
        return len(self.walls)

    @property
    def spatial(self) -> UInt8[np.ndarray, "n height width 3"]:
        """The images, of 0 and 255: walls, start and goal, one channel each."""
        ends = (dotted(points, self.walls.shape) for points in (self.start, self.goal))
        return np.stack([self.walls, *ends], -1).astype(np.uint8) * 255

    @classmethod
    def read(cls, spatial: UInt8[np.ndarray, "n height width 3"]) -> "Grids":
        """The mazes that images show, those of ``spatial`` or others like them.

        Raises ``DataError`` unless each has one start and one goal, apart and not in a wall.
        """
        if spatial.ndim != 4 or spatial.shape[-1] != 3 or spatial.dtype != np.uint8:
            raise DataError(
                "mazes are uint8 [n, H, W, 3] (walls, start, goal), got "
                f"{spatial.dtype} {list(spatial.shape)}"
            )
        walls, *ends = np.moveaxis(spatial >= _DRAWN, -1, 0)
        for noun, channel in zip(("start", "goal"), ends, strict=True):
            counts = channel.sum((1, 2))
            if at := first(counts != 1):
                raise DataError(f"maze {at[0]} has {counts[at]} {noun}s; it needs one")
            if at := first(channel & walls):
                raise DataError(f"maze {at[0]} has its {noun} in a wall, at ({at[1]}, {at[2]})")
        start, goal = (np.argwhere(channel)[:, 1:] for channel in ends)
        if at := first((start == goal).all(1)):
            raise DataError(f"maze {at[0]} has its start and its goal in one pixel")
        return cls(walls, start, goal)


def drawn(
    paths: UInt8[np.ndarray, "n height width 1"], grids: Grids
) -> Bool[np.ndarray, "n height width"]:
    """Where images of paths through these mazes are drawn: levels of 128 and above.

    Raises ``DataError`` for images of another number, size or type.
    """
    if paths.shape != (*grids.walls.shape, 1) or paths.dtype != np.uint8:
        raise DataError(
            f"paths through these mazes are uint8 {[*grids.walls.shape, 1]}, got {paths.dtype} "
            f"{list(paths.shape)}"
        )
    return paths[..., 0] >= _DRAWN


def dotted(
    points: Int[np.ndarray, "n ... 2"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "n height width"]:
    """True at the points of each of n grids."""
    dots = np.zeros(shape, bool)
    number = np.arange(len(points)).reshape(-1, *[1] * (points.ndim - 2))
    dots[number, points[..., 0], points[..., 1]] = True
    return dots


def first(wrong: Bool[np.ndarray, "..."]) -> tuple[int, ...] | None:
    """Where the first True is, by row and column, None where there is none."""
    found = np.argwhere(wrong)
    return tuple(found[0].tolist()) if len(found) else None
