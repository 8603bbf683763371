"""How much of images is a checkerboard, the mark of layers that double the sides.

A layer of stride two computes each other pixel with other weights. Where these disagree, what is
smooth comes out with a pattern of period two (Odena et al. 2016, "Deconvolution and checkerboard
artifacts"): a line in the spectrum at the highest frequency.
"""

import jax.numpy as jnp
from jaxtyping import Float

from gen_jax.typing import Array

NEIGHBOURS = 2


def checkerboard(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, ""]:
    """The power of rows and columns at period two, over that at the frequencies next to it.

    Powers are means over images, channels, and all rows and columns, the neighbours the next
    ``NEIGHBOURS`` frequencies below. About 1 for noise, and for a spectrum without a line; many
    times 1 for a checkerboard; nearly 0 where every pixel stands there four times, and 1 for flat
    images. Scale and offset do not matter; of odd sides the last row or column is left out.
    Raises ``ValueError`` for sides below 8.
    """
    images = jnp.asarray(images, jnp.float32)
    if images.ndim != 4 or min(images.shape[1:3]) < 8:
        raise ValueError(f"images must be [B, H, W, C] with sides of 8 or more, got {images.shape}")
    images = images - images.mean()
    at_two = below = jnp.zeros(())
    for axis in (1, 2):
        side = images.shape[axis] // 2 * 2
        lines = jnp.moveaxis(images, axis, -1)[..., :side]
        power = jnp.mean(jnp.abs(jnp.fft.rfft(lines)) ** 2, (0, 1, 2)) / side
        at_two = at_two + power[-1]
        below = below + power[-1 - NEIGHBOURS : -1].mean()
    rounding = 1e-9 * jnp.mean(images**2) + 1e-30
    return (at_two + rounding) / (below + rounding)
