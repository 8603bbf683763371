"""What any translation must beat: the simplest ways to make one image of another.

All take and give uint8 images, and raise ``ValueError`` for others.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.evaluation.resize import resize
from gen_jax.images import require_uint8
from gen_jax.typing import Array

Stored = UInt8[Array | np.ndarray, "batch height width channels"]


def identity(source: Stored, channels: int) -> UInt8[np.ndarray, "batch height width channels"]:
    """The source itself, a gray one repeated in each of ``channels``."""
    source = _stored(source)
    if source.shape[-1] == channels:
        return source
    if source.shape[-1] != 1:
        raise ValueError(
            f"only gray images are repeated to {channels} channels, got {list(source.shape)}"
        )
    return source.repeat(channels, axis=-1)


def nearest(low: Stored, factor: int) -> UInt8[np.ndarray, "batch height width channels"]:
    """``factor`` times the size, each pixel repeated."""
    _require_factor(factor)
    return _stored(low).repeat(factor, axis=1).repeat(factor, axis=2)


def bicubic(low: Stored, factor: int) -> UInt8[np.ndarray, "batch height width channels"]:
    """``factor`` times the size by Keys' cubic, as Pillow enlarges, rounded to levels."""
    _require_factor(factor)
    low = _stored(low)
    height, width = low.shape[1:3]
    return np.asarray(
        jnp.round(resize(jnp.asarray(low), (factor * height, factor * width))), np.uint8
    )


def constant_shift(train_source: Stored, train_target: Stored) -> Int[np.ndarray, " channels"]:
    """The levels to add to each channel that leave the least L1 to the targets of training pairs.

    That is the median of the differences, the lower one of two; before clipping to 0..255. Sources
    may be gray where targets are not. ``shift`` adds it to images.
    """
    target = _stored(train_target)
    source = identity(train_source, target.shape[-1])
    if source.shape != target.shape or target.size == 0:
        raise ValueError(
            "sources and targets must be of the same size and number, at least one, got "
            f"{list(np.shape(train_source))} and {list(target.shape)}"
        )
    found = []
    for channel in range(target.shape[-1]):
        difference = target[..., channel].astype(np.int16) - source[..., channel]
        counts = np.bincount(difference.reshape(-1) + np.int16(255), minlength=511)
        found.append(np.searchsorted(counts.cumsum(), (difference.size + 1) // 2) - 255)
    return np.asarray(found)


def shift(
    source: Stored, levels: Int[np.ndarray, " channels"]
) -> UInt8[np.ndarray, "batch height width channels"]:
    """The source with ``levels`` added to each of its channels, clipped to 0..255.

    A gray source is repeated in each channel.
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
