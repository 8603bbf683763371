"""Resizing for scores of images: a change of the resizer can move FID more than one of the model.

Parmar et al. 2022 ("On Aliased Resizing and Surprising Subtleties in GAN Evaluation") call for a
filter that widens with the reduction, so that nothing aliases, and for no rounding to levels after
it. Both resizers here are linear and separable, so each is a matrix for either axis:

    out[y, x] = sum_ij  rows[y, i]  columns[x, j]  image[i, j]
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gen_jax.images import require_uint8_or_float
from gen_jax.typing import Array

Resizer = Literal["bicubic", "tf1-bilinear"]


def resize(
    image: UInt8[Array, "batch height width channels"]
    | Float[Array, "batch height width channels"],
    size: int | tuple[int, int],
    *,
    method: Resizer = "bicubic",
) -> Float[Array, "batch new_height new_width channels"]:
    """Levels 0..255 at another size, proportions not kept; floats in [0, 255], not rounded.

    ``size`` is the new (height, width), or both of them in one.

    ``"bicubic"`` is that of clean-fid: Pillow's antialiased filter on float channels, clipped.
    ``"tf1-bilinear"`` is what FID was first computed with, TensorFlow 1's: not antialiased, and
    half a pixel off. Images of the wanted size stay as they are. Raises ``ValueError`` for other
    methods, a size below 1, another dtype, and anything but a batch of images.
    """
    require_uint8_or_float(image)
    if method not in WEIGHTS:
        raise ValueError(f"the resizers are {', '.join(WEIGHTS)}, got {method!r}")
    sizes = (size, size) if isinstance(size, int) else size
    if min(sizes) < 1:
        raise ValueError(f"the size must be 1 or more, got {size}")
    if image.ndim != 4 or 0 in image.shape[1:]:
        raise ValueError(f"resize expects images [B, H, W, C], got {list(image.shape)}")
    rows, columns = (
        jnp.asarray(WEIGHTS[method](side, new), jnp.float32)
        for side, new in zip(image.shape[1:3], sizes, strict=True)
    )
    exact = jax.lax.Precision.HIGHEST  # on accelerators the default rounds to fewer bits
    x = image.astype(jnp.float32)
    x = jnp.einsum("xj,bijc->bixc", columns, x, precision=exact)
    x = jnp.einsum("yi,bixc->byxc", rows, x, precision=exact)
    return jnp.clip(x, 0.0, 255.0)


def bicubic_weights(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """Each output pixel's weights of the input's, as Pillow computes them.

    Output pixel ``i`` has its centre at ``(i + 1/2) size_in / size_out``; the filter reaches two
    output pixels to both sides where there are fewer of these, two input pixels else. Weights
    that fall off the edge are left out, and the others divided by what is left.
    """
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    weights = np.zeros((size_out, size_in))
    for i in range(size_out):
        centre = (i + 0.5) * scale
        first = max(0, math.floor(centre - 2.0 * stretch + 0.5))
        last = min(size_in, math.floor(centre + 2.0 * stretch + 0.5))
        weights[i, first:last] = _cubic((np.arange(first, last) + 0.5 - centre) / stretch)
    return weights / weights.sum(axis=1, keepdims=True)


def tf1_bilinear_weights(size_in: int, size_out: int) -> Float[np.ndarray, "size_out size_in"]:
    """The weights of TensorFlow 1's ``resize_bilinear`` with ``align_corners=False``.

    Output pixel ``i`` is read at ``i size_in / size_out``, between its two neighbours there, in
    the float32 that TensorFlow computed in.
    """
    place = np.arange(size_out, dtype=np.float32) * np.float32(size_in / size_out)
    low = np.minimum(place.astype(np.int64), size_in - 1)
    high = np.minimum(low + 1, size_in - 1)
    share = place - low
    weights = np.zeros((size_out, size_in))
    np.add.at(weights, (np.arange(size_out), low), 1.0 - share)
    np.add.at(weights, (np.arange(size_out), high), share)
    return weights


def _cubic(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Keys' interpolation kernel with a = -1/2 (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


WEIGHTS: dict[Resizer, Callable[[int, int], np.ndarray]] = {
    "bicubic": bicubic_weights,
    "tf1-bilinear": tf1_bilinear_weights,
}
