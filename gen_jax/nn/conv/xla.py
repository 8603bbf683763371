"""XLA's own convolution, and its transposes: what every platform has."""

import jax
from jax import lax

from gen_jax.nn.conv.geometry import (
    APPLY,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    Geometry,
    straightening,
)
from gen_jax.typing import Array


def convolution(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.apply``, for a geometry that is not turned."""
    g, n = geometry, len(geometry.strides)
    image, taps = (0, n + 1, *range(1, n + 1)), (n + 1, n, *range(n))
    return lax.conv_general_dilated(
        x,
        kernel,
        g.strides,
        g.pads,
        rhs_dilation=g.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(image, taps, image),
    )


apply = straightening(APPLY)(convolution)


@straightening(INPUT_GRADIENT)
def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.input_gradient``."""
    x = jax.ShapeDtypeStruct((y.shape[0], *geometry.input_size, kernel.shape[-2]), y.dtype)
    return jax.linear_transpose(lambda x: convolution(x, kernel, geometry), x)(y)[0]


@straightening(KERNEL_GRADIENT)
def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """As ``primitive.kernel_gradient``."""
    kernel = jax.ShapeDtypeStruct((*geometry.kernel_size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: convolution(x, kernel, geometry), kernel)(y)[0]
