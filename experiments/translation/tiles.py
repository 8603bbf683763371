"""Images of any size through a network that sees one tile at a time.

A side longer than a tile is covered by tiles that overlap, and neighbours are blended across the
middle of their overlap. A shorter side is padded by reflection up to one of a few lengths. So few
programs are compiled, whatever the sizes, and memory grows with the image alone.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

STEP = 64  # a padded side is a multiple of it
WHOLE = 256  # the sum of the weights along an axis: in integers it is exact, in any order

Image = UInt8[np.ndarray, "height width channels"]
Network = Callable[[UInt8[np.ndarray, "batch height width channels"]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How images are cut: square tiles of ``tile`` pixels, of which neighbours share ``overlap`` or
    more, ``batch`` at a time.

    ``least`` is the least side that the network takes, and ``own`` the height and width that it was
    trained on: a side of that length is never padded. Raises ``ValueError`` for what cannot be.
    """

    tile: int
    overlap: int
    least: int = 1
    own: tuple[int, int] = (0, 0)
    batch: int = 4

    def __post_init__(self):
        if self.tile < self.least:
            raise ValueError(
                f"a tile must be at least as large as the least image that the model takes "
                f"({self.least} pixels), got {self.tile}"
            )
        if not 0 <= self.overlap <= self.tile // 2:
            raise ValueError(
                f"tiles of {self.tile} pixels can overlap by 0 to {self.tile // 2} pixels, "
                f"got {self.overlap}"
            )

    def axes(self, image: Image) -> tuple["Axis", "Axis"]:
        """The places of tiles down and across an image."""
        height, width, own = *image.shape[:2], self.own
        return self._axis(height, own[0]), self._axis(width, own[1])

    def _axis(self, length: int, own: int) -> "Axis":
        if length > self.tile:
            return _cover(length, self.tile, self.overlap)
        rounded = min(self.tile, max(self.least, -(-length // STEP) * STEP))
        own = own if self.least <= own <= self.tile else rounded
        side = min(rounded, own) if own >= length else rounded
        return Axis(side, (0,), (np.full(side, WHOLE, np.uint16),))


class Axis(NamedTuple):
    """Tiles along one axis: the length of each, where they start, and the weight of each pixel in
    each of them. Over all tiles, the weights of a pixel sum to ``WHOLE``."""

    tile: int
    starts: tuple[int, ...]
    weights: tuple[UInt16[np.ndarray, " tile"], ...]

    @property
    def length(self) -> int:
        """What the tiles cover."""
        return self.starts[-1] + self.tile


def count(image: Image, tiling: Tiling) -> int:
    """How many tiles an image is cut into."""
    rows, columns = tiling.axes(image)
    return len(rows.starts) * len(columns.starts)


def translate(network: Network, image: Image, tiling: Tiling) -> Image:
    """What ``network`` makes of an image [H, W, C]: uint8 [H, W, C'].

    ``network`` gets uint8 [B, h, w, C], with B of ``tiling.batch`` or 1, and gives [B, h, w, C'].
    One that works on each pixel alone gives what it gives for the whole image at once, exactly.
    """
    height, width = image.shape[:2]
    rows, columns = tiling.axes(image)
    image = _padded(image, rows.length, columns.length)
    made = _through(network, _tiles(image, rows, columns), tiling.batch)
    bands = (_band(made, columns) for _ in rows.starts)
    return _stacked(bands, rows)[:height, :width]


def _cover(length: int, tile: int, overlap: int) -> Axis:
    """Fewest tiles that cover a length, evenly spread."""
    n = -(-(length - tile) // (tile - overlap)) + 1
    starts = [i * (length - tile) // (n - 1) for i in range(n)]
    # From one tile to the next, weight moves across the middle of what they share, which is the
    # farthest from the borders of both. A rise goes from 0 to WHOLE, so that the differences of
    # neighbouring rises sum to WHOLE.
    phase = np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)
    rise = np.rint(WHOLE * np.pad(np.sin(phase) ** 2, 1, constant_values=(0, 1)))
    middles = [(left + tile + right - overlap) // 2 for left, right in itertools.pairwise(starts)]
    bounds = itertools.pairwise([-overlap, *middles, length])  # where each rise begins

    def weights(start: int, here: int, following: int) -> UInt16[np.ndarray, " tile"]:
        places = start + np.arange(tile)
        own, others = (
            rise[np.clip(places - begin + 1, 0, overlap + 1)] for begin in (here, following)
        )
        return (own - others).astype(np.uint16)

    windows = (weights(start, *bound) for start, bound in zip(starts, bounds, strict=True))
    return Axis(tile, tuple(starts), tuple(windows))


def _padded(image: Image, height: int, width: int) -> Image:
    below, right = height - image.shape[0], width - image.shape[1]
    if not (below or right):
        return image
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")


def _tiles(image: Image, rows: Axis, columns: Axis) -> Iterator[Image]:
    for top, left in itertools.product(rows.starts, columns.starts):
        yield image[top : top + rows.tile, left : left + columns.tile]


def _through(network: Network, tiles: Iterator[Image], batch: int) -> Iterator[Image]:
    """What the network makes of each tile; those that fill no batch go one by one, so that there
    is one program more and not one for every remainder."""
    while chunk := list(itertools.islice(tiles, batch)):
        for part in [chunk] if len(chunk) == batch else [[tile] for tile in chunk]:
            yield from np.asarray(network(np.stack(part)))


def _band(made: Iterator[Image], columns: Axis) -> UInt16[np.ndarray, "tile width channels"]:
    """The next row of tiles, blended across; levels times ``WHOLE``."""
    band: np.ndarray | None = None
    for start, weights in zip(columns.starts, columns.weights, strict=True):
        tile = next(made)
        if band is None:
            band = np.zeros((tile.shape[0], columns.length, tile.shape[-1]), np.uint16)
        band[:, start : start + columns.tile] += weights[:, None] * tile
    assert band is not None
    return band


def _stacked(bands: Iterator[np.ndarray], rows: Axis) -> Image:
    """Bands blended downwards into levels."""
    image: np.ndarray | None = None
    # Sums of the current band's rows, with what the bands above gave them. A uint32 for each level
    # of the whole image would be the most that translating it takes.
    sums = np.zeros(0, np.uint32)
    followings = (*rows.starts[1:], rows.length)
    for start, following, weights, band in zip(
        rows.starts, followings, rows.weights, bands, strict=True
    ):
        if image is None:
            image = np.empty((rows.length, *band.shape[1:]), np.uint8)
            sums = np.zeros(band.shape, np.uint32)
        sums += weights[:, None, None] * band.astype(np.uint32)
        done = following - start  # rows that no later band reaches
        image[start:following] = (sums[:done] + WHOLE**2 // 2) // WHOLE**2
        sums[: rows.tile - done] = sums[done:]
        sums[rows.tile - done :] = 0
    assert image is not None
    return image
