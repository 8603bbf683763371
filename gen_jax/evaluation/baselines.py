"""What any translation must beat: the simplest ways to make one image of another.

All take and give uint8 images, and raise ``ValueError`` for others.
"""

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.colour import luma
from gen_jax.images import require_uint8
from gen_jax.typing import Array

SHIFTS = np.asarray(sorted(range(-255, 256), key=abs))  # the nearest to zero first
Stored = UInt8[Array | np.ndarray, "batch height width channels"]


def identity(source: Stored, channels: int) -> UInt8[np.ndarray, "batch height width channels"]:
    """The source itself: a gray one repeated in each of ``channels``, one in colour as its luma
    where ``channels`` is 1."""
    source = _stored(source)
    if source.shape[-1] == channels:
        return source
    if source.shape[-1] == 1:
        return source.repeat(channels, axis=-1)
    if (source.shape[-1], channels) != (3, 1):
        raise ValueError(
            f"images of 1 channel are brought to any number, and of 3 to 1; got "
            f"{list(source.shape)} to be brought to {channels}"
        )
    return luma(source)


def nearest(low: Stored, factor: int) -> UInt8[np.ndarray, "batch height width channels"]:
    """``factor`` times the size, each pixel repeated."""
    _require_factor(factor)
    return _stored(low).repeat(factor, axis=1).repeat(factor, axis=2)


def constant_shift(source: Stored, target: Stored) -> Int[np.ndarray, " channels"]:
    """The levels to add to each channel of the sources that leave the least L1 to the targets.

    ``shift`` adds them, and clips to 0..255: that counts here as well. Of equally good ones it is
    the one nearest to zero. Sources may be gray where targets are not, or the other way round.
    """
    target = _stored(target)
    source = identity(source, target.shape[-1])
    if source.shape != target.shape or target.size == 0:
        raise ValueError(
            "sources and targets must be of the same size and number, at least one, got "
            f"{list(np.shape(source))} and {list(target.shape)}"
        )
    levels = np.arange(256)
    moved = np.clip(levels + SHIFTS[:, None], 0, 255)
    error = np.abs(moved[..., None] - levels).astype(
        np.int32
    )  # of each shift, source level and target level
    found = []
    for channel in range(target.shape[-1]):
        pairs = 256 * source[..., channel].astype(np.int64) + target[..., channel]
        counts = np.bincount(pairs.reshape(-1), minlength=256**2).reshape(256, 256)
        found.append(SHIFTS[np.einsum("ksd,sd->k", error, counts).argmin()])
    return np.asarray(found)


def shift(
    source: Stored, levels: Int[np.ndarray, " channels"]
) -> UInt8[np.ndarray, "batch height width channels"]:
    """The source with ``levels`` added to each of its channels, clipped to 0..255.

    The channels become as many as those levels, as ``identity`` makes them.
    """
    moved = identity(source, len(levels)).astype(np.int64) + levels
    return moved.clip(0, 255).astype(np.uint8)


def _stored(images: Stored) -> UInt8[np.ndarray, "batch height width channels"]:
    array = np.asarray(images)
    require_uint8(array)  # pyright: ignore[reportArgumentType]
    if array.ndim != 4:
        raise ValueError(f"images must be [B, H, W, C], got {list(array.shape)}")
    return array


def _require_factor(factor: int) -> None:
    if factor < 1:
        raise ValueError(f"the factor of the size must be 1 or more, got {factor}")
