"""Conversions between stored images and what models compute with.

Those that read levels raise ``ValueError`` for any dtype but uint8, whose numbers would be misread.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from gen_jax.typing import Array, PRNGKey


def require_uint8(image: Array) -> None:
    """Raises ``ValueError`` unless images are stored levels."""
    if image.dtype != jnp.uint8:
        raise ValueError(f"images must be uint8 (levels 0..255), got {image.dtype}")


def require_uint8_or_float(image: Array) -> None:
    """Raises ``ValueError`` unless images are stored levels, or floats in the caller's range."""
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"images must be uint8 (levels 0..255) or floats, got {image.dtype}")


def _levels(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    require_uint8(image)
    return image.astype(jnp.float32)


def to_float(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Maps levels 0..255 to floats in [0, 1]."""
    return _levels(image) / 255.0


def as_float(image: Array) -> Float[Array, "..."]:
    """Maps levels 0..255 to floats in [0, 1], and leaves floats as they are.

    Raises ``ValueError`` for any other dtype.
    """
    require_uint8_or_float(image)
    return to_float(image) if image.dtype == jnp.uint8 else image


def to_uint8(image: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """Maps floats in [0, 1] to the nearest of the levels 0..255; what lies outside is clipped."""
    return jnp.round(jnp.clip(image, 0.0, 1.0) * 255.0).astype(jnp.uint8)


def to_symmetric(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Maps levels 0..255 to floats in [-1, 1], as networks with a tanh at their end make them."""
    return _levels(image) / 127.5 - 1.0


def as_symmetric(image: Array) -> Float[Array, "..."]:
    """Maps levels 0..255 to floats in [-1, 1], and leaves floats as they are.

    Raises ``ValueError`` for any other dtype.
    """
    require_uint8_or_float(image)
    return to_symmetric(image) if image.dtype == jnp.uint8 else image


def from_symmetric(image: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """Maps floats in [-1, 1] to the nearest of the levels 0..255; what lies outside is clipped."""
    return to_uint8(0.5 * (image + 1.0))


def binarize_threshold(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Returns 1 where the level is 128 or more, else 0."""
    require_uint8(image)
    return (image >= 128).astype(jnp.float32)


def binarize_dynamic(key: PRNGKey, image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Draws each pixel as 1 with probability level / 255 (Salakhutdinov & Murray, 2008).

    A new key gives a new binarization; models trained so overfit far less than on fixed ones.
    The probability is exact for levels 0 and 255 and within 2^-17 for the others.
    """
    require_uint8(image)
    level = image.astype(jnp.int32)
    threshold = level * 257 + (level >> 7)  # level / 255 * 2^16, rounded
    return (_random_16_bits(key, image.shape) < threshold).astype(jnp.float32)


def dequantize(key: PRNGKey, image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Adds uniform noise of one level's width: floats in [0, 1) whose density bounds the
    probability of the levels (Theis et al., 2016, section 3.1)."""
    level = _levels(image)
    # 8 bits of level and 16 of noise are what a float32 holds exactly: no sum is rounded up.
    noise = _random_16_bits(key, image.shape).astype(jnp.float32) / 65536.0
    return (level + noise) / 256.0


def dequantized_mean(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """The expectation of ``dequantize``: the middle of each level's bin."""
    return (_levels(image) + 0.5) / 256.0


def _random_16_bits(key: PRNGKey, shape: tuple[int, ...]) -> Int[Array, "..."]:
    """Uniform integers below 2^16, two from each random word: drawing the words is most of the
    cost of binarizing."""
    n = math.prod(shape)
    words = jax.random.bits(key, ((n + 1) // 2,), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)
    return halves[:n].reshape(shape).astype(jnp.int32)


def grid(
    images: UInt8[np.ndarray, "batch height width channels"],
    columns: int | None = None,
    *,
    gap: int = 1,
    background: int = 128,
) -> UInt8[np.ndarray, "rows columns channels"]:
    """Tiles a batch into one image, row by row, ``columns`` per row (default: nearly square)."""
    images = np.asarray(images)
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"grid expects images [B, H, W, C] with B > 0, got shape {images.shape}")
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    tiles = np.full((rows * columns, height + gap, width + gap, channels), background, np.uint8)
    tiles[:n, gap:, gap:] = images
    tiles = tiles.reshape(rows, columns, height + gap, width + gap, channels)
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + gap), columns * (width + gap), channels
    )
    return np.pad(sheet, ((0, gap), (0, gap), (0, 0)), constant_values=background)
