"""How thick, slanted and large drawn characters are, measured on their gray levels.

They are quantities of Morpho-MNIST (Castro et al., 2019, arXiv:1809.10780), measured without its
enlarged and thresholded images: light on dark, each level counts as a share of ink.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

_CHUNK = 128  # images at once, whose intermediate arrays stay in the processor's cache
Measure = Float[np.ndarray, " n"]


class Strokes(NamedTuple):
    """Float64 [n] each; all are 0 for an image without ink.

    ``thickness`` is that of the stroke, in pixels: twice the ink's area over its perimeter, which
    holds for strokes far longer than thick, and from 2 pixels on (one of 1.5 measures as 1.7).
    ``slant`` is in degrees from the vertical, above 0 for what leans to the right: that of the
    shear which, undone, leaves rows and columns of ink uncorrelated. ``height`` is the number of
    rows with ink, ``width`` the number of columns with ink once that shear is undone; faint rows
    and columns count by the share of their darkest ink.
    """

    thickness: Measure
    slant: Measure
    height: Measure
    width: Measure


def measure(gray: UInt8[np.ndarray, "n height width"]) -> Strokes:
    """Measures one character an image, light on dark."""
    parts = [_measure(gray[i : i + _CHUNK]) for i in range(0, max(len(gray), 1), _CHUNK)]
    return Strokes(*map(np.concatenate, zip(*parts, strict=True)))


def _measure(gray: UInt8[np.ndarray, "n height width"]) -> Strokes:
    ink = gray.astype(np.float64) / 255.0
    area = ink.sum((1, 2))
    some = np.maximum(area, 1e-9)
    rows, columns = (np.arange(size, dtype=np.float64) for size in gray.shape[1:])
    by_row, by_column = ink.sum(2), ink.sum(1)
    row, column = by_row @ rows / some, by_column @ columns / some
    variance = np.maximum(by_row @ rows**2 / some - row**2, 0.0)  # of the rows of ink
    covariance = (ink @ columns) @ rows / some - row * column
    # Rows are counted downwards.
    shear = np.divide(-covariance, variance, out=np.zeros(len(ink)), where=variance > 1e-9)
    upright = _sheared(ink, shear[:, None] * (rows - row[:, None]))
    return Strokes(
        thickness=2.0 * area / np.maximum(_perimeter(ink), 1e-9),
        slant=np.degrees(np.arctan(shear)),
        height=ink.max(2).sum(1),
        width=upright.max(1).sum(1),
    )


def _perimeter(ink: Float[np.ndarray, "n height width"]) -> Measure:
    """The total variation: of what is 0 or 1, the length of the border between them.

    Differences are taken across the diagonals of 2×2 pixels: they share their centre, so that thin
    strokes lose nothing.
    """
    framed = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    falling = framed[:, 1:, 1:] - framed[:, :-1, :-1]
    rising = framed[:, 1:, :-1] - framed[:, :-1, 1:]
    return np.sqrt((falling**2 + rising**2) / 2.0).sum((1, 2))


def _sheared(
    ink: Float[np.ndarray, "n height width"], shifts: Float[np.ndarray, "n height"]
) -> Float[np.ndarray, "n height 2*width"]:
    """Each row moved to the right, on a canvas with room for it, by linear interpolation."""
    width = ink.shape[2]
    canvas = np.pad(ink, ((0, 0), (0, 0), (width // 2, width - width // 2)))
    source = np.arange(2 * width) - shifts[..., None]  # where each place's ink comes from
    before = np.clip(np.floor(source).astype(np.int64), 0, 2 * width - 2)
    share = np.clip(source - before, 0.0, 1.0)
    left, right = (np.take_along_axis(canvas, before + step, 2) for step in (0, 1))
    return (1.0 - share) * left + share * right
