"""The one convolution of the library, channels last, for any number of spatial axes.

``[B, T, C]`` is sound, ``[B, H, W, C]`` an image. What is computed, and how fast on which
platform, begins in ``primitive.py``. It works under every transformation of JAX, in forward and
reverse mode of any order, and on every mesh: under automatic and explicit axes, ``jax.shard_map``
and ``jax.pmap``.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from gen_jax.nn.conv import meshes, primitive
from gen_jax.nn.conv.geometry import APPLY, Geometry, Pads, pad
from gen_jax.typing import Array

Padding = str | Sequence[tuple[int, int]]
Sizes = int | Sequence[int]


def conv(
    x: Float[Array, "batch *space c_in"],
    kernel: Float[Array, "*kernel_space c_in c_out"],
    *,
    strides: Sizes = 1,
    padding: Padding = "SAME",
    dilation: Sizes = 1,
    masked: bool = False,
) -> Float[Array, "batch *out_space c_out"]:
    """Correlates ``x`` with ``kernel``, as ``jax.lax.conv_general_dilated`` does.

    ``padding`` is ``"SAME"`` (output size is the input's over the stride, rounded up),
    ``"VALID"``, ``"REFLECT"`` (as ``"SAME"``, but the image is mirrored at its edges, whose own
    pixels are not repeated; for stride 1 and kernels that span an odd number of pixels), or a
    (low, high) pair for each spatial axis, which may be negative (a crop).
    ``dilation`` spreads the kernel's taps. Where a mask has made taps zero, ``masked`` keeps the
    pixels under them from changing the result by rounding errors. On a mesh with explicit axes the
    result is sharded over the batch as ``x`` is, and over channels as ``kernel`` is. Raises
    ``ValueError`` where ranks, channels, dtypes, options or shardings do not fit.
    """
    n = _check(x, kernel)
    steps, spread = _per_axis("strides", strides, n), _per_axis("dilation", dilation, n)
    size, taps = x.shape[1:-1], kernel.shape[:n]
    reach = [(k - 1) * d + 1 for k, d in zip(taps, spread, strict=True)]
    if padding == "REFLECT":
        x, padding = _mirrored(x, reach, steps), "VALID"
        size = x.shape[1:-1]
    pads = _conv_padding(padding, size, reach, steps)
    if max(taps) == 1:
        return _pixelwise(x, kernel, steps, pads)
    geometry = Geometry(steps, pads, spread, size, taps, masked=masked)
    if min(geometry.output_size) < 1:
        raise ValueError(f"a kernel that spans {geometry.reach} finds no place in {size} + {pads}")
    return primitive.apply(x, kernel, geometry)


def conv_transpose(
    x: Float[Array, "batch *space c_in"],
    kernel: Float[Array, "*kernel_space c_in c_out"],
    *,
    strides: Sizes = 1,
    padding: Padding = "SAME",
) -> Float[Array, "batch *out_space c_out"]:
    """Spreads the pixels of ``x`` ``strides`` apart, zeros between, and correlates with ``kernel``.

    This is ``jax.lax.conv_transpose`` with its default ``transpose_kernel=False``: the kernel is
    not flipped, and its channels are (in, out). ``"SAME"`` gives ``stride`` times the input's
    size, ``"VALID"`` every output that an input reaches; a (low, high) pair for each axis pads
    the spread-out input. Raises ``ValueError`` as ``conv`` does.
    """
    n = _check(x, kernel)
    steps = _per_axis("strides", strides, n)
    pads = _transpose_padding(padding, kernel.shape[:n], steps)
    return _conv_transpose(x, kernel, steps, pads)


def upsample_conv(
    x: Float[Array, "batch *space c_in"], kernel: Float[Array, "*kernel_space c_in c_out"]
) -> Float[Array, "batch *out_space c_out"]:
    """Doubles each side by repeating pixels, then convolves with ``"SAME"`` padding.

    Free of the checkerboards of transposed convolutions (Odena et al., 2016). A pixel repeated
    under a 3×3 kernel sees one 4×4 kernel at stride two, so that is what is computed: 16 products
    where the two steps need 36.
    """
    n = _check(x, kernel)
    lows = [(k - 1) // 2 + 1 for k in kernel.shape[:n]]
    pads = tuple((low, k + 1 - low) for k, low in zip(kernel.shape[:n], lows, strict=True))
    return _conv_transpose(x, _over_pairs(kernel), (2,) * n, pads)


def conv_mean_pool(
    x: Float[Array, "batch *space c_in"], kernel: Float[Array, "*kernel_space c_in c_out"]
) -> Float[Array, "batch *half_space c_out"]:
    """Convolves with ``"SAME"`` padding, then takes means of pairs of pixels along each axis.

    A 3×3 kernel under a mean of 2×2 is one 4×4 kernel at stride two, so that is what is computed:
    16 products where the two steps need 36. The sides must be even.
    """
    n = _check(x, kernel)
    return conv(x, _over_pairs(kernel) / 2**n, strides=2)


def _over_pairs(kernel: Array) -> Array:
    """The sum of a kernel's two places on each pair of pixels, along every spatial axis."""
    for axis in range(kernel.ndim - 2):
        edges = [(0, 0)] * kernel.ndim
        edges[axis] = (1, 0)
        shifted = jnp.pad(kernel, edges)
        edges[axis] = (0, 1)
        kernel = shifted + jnp.pad(kernel, edges)
    return kernel


def _conv_transpose(x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads) -> Array:
    """The input gradient of the convolution that would make ``x``, by the turned kernel."""
    n = len(strides)
    rows = list(zip(x.shape[1:-1], kernel.shape[:n], strides, pads, strict=True))
    size = tuple((m - 1) * s + 1 + low + high - (k - 1) for m, k, s, (low, high) in rows)
    outer = tuple((k - 1 - low, k - 1 - high) for _, k, _, (low, high) in rows)
    if min(size) < 1:
        raise ValueError(f"padding {pads} leaves nothing of {x.shape[1:-1]} spread by {strides}")
    geometry = Geometry(strides, outer, (1,) * n, size, kernel.shape[:n], turned=True)
    return primitive.input_gradient(x, kernel, geometry)


# Shapes and options


def _check(x: Array, kernel: Array) -> int:
    if x.ndim != kernel.ndim or x.ndim < 3 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            "a convolution expects x [batch, *space, c_in] and kernel [*space, c_in, c_out], "
            f"got {x.shape} and {kernel.shape}"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"x and kernel must have the same dtype, got {x.dtype} and {kernel.dtype}")
    return x.ndim - 2


def _per_axis(name: str, sizes: Sizes, n: int) -> tuple[int, ...]:
    sizes = (sizes,) * n if isinstance(sizes, int) else tuple(sizes)
    if len(sizes) != n or min(sizes) < 1:
        raise ValueError(f"{name} must be {n} positive integers (or one for all), got {sizes}")
    return sizes


def _explicit(padding: Padding, n: int, words: str) -> Pads:
    if isinstance(padding, str) or len(padding) != n:
        raise ValueError(f"padding must be {words} or {n} (low, high) pairs, got {padding!r}")
    return tuple((low, high) for low, high in padding)


def _conv_padding(
    padding: Padding, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> Pads:
    if padding == "VALID":
        return ((0, 0),) * len(sizes)
    if padding == "SAME":
        totals = [
            max((-(-size // s) - 1) * s + r - size, 0)
            for size, r, s in zip(sizes, reach, strides, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    return _explicit(padding, len(sizes), '"SAME", "VALID", "REFLECT"')


def _mirrored(x: Array, reach: Sequence[int], strides: Sequence[int]) -> Array:
    """The image and, around it, its mirror images, by half of what the kernel spans."""
    if max(strides) > 1 or any(r % 2 == 0 for r in reach):
        raise ValueError(
            'padding="REFLECT" is for stride 1 and kernels that span an odd number of pixels, got '
            f"strides {tuple(strides)} and a kernel that spans {tuple(reach)}"
        )
    size, widths = x.shape[1:-1], [r // 2 for r in reach]
    if any(n <= width for n, width in zip(size, widths, strict=True)):
        raise ValueError(
            f"an image of {size} cannot be mirrored by {tuple(widths)} pixels: "
            f"it must be at least {tuple(width + 1 for width in widths)}"
        )
    return jnp.pad(x, [(0, 0), *((width, width) for width in widths), (0, 0)], mode="reflect")


def _transpose_padding(padding: Padding, sizes: Sequence[int], strides: Sequence[int]) -> Pads:
    pairs = zip(sizes, strides, strict=True)
    if padding == "VALID":
        return tuple((k - 1, k - 1 + max(s - k, 0)) for k, s in pairs)
    if padding == "SAME":
        totals = [(k - 1 if s > k - 1 else -(-(k + s - 2) // 2), k + s - 2) for k, s in pairs]
        return tuple((low, total - low) for low, total in totals)
    return _explicit(padding, len(sizes), '"SAME", "VALID"')


def _pixelwise(x: Array, kernel: Array, strides: Sequence[int], pads: Pads) -> Array:
    """A kernel of one tap is a matrix product, with fast derivatives as it stands."""

    def product(x: Array, kernel: Array) -> Array:
        x = pad(x, pads)
        x = lax.slice(x, (0,) * x.ndim, x.shape, (1, *strides, 1))
        return x @ kernel.reshape(kernel.shape[-2:])

    return meshes.on_any_mesh(product, APPLY, x, kernel)


# Layers


class WeightNorm(nn.Module):
    """Direction and length of each output channel's kernel apart (Salimans & Kingma, 2016).

    The parameter ``scale`` [c_out] starts at the kernel's own lengths, so that at first nothing
    changes.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "*space c_in c_out"]) -> Float[Array, "..."]:
        axes = tuple(range(kernel.ndim - 1))
        length = jnp.sqrt(jnp.sum(kernel**2, axes) + 1e-12)
        scale = self.param("scale", lambda _: length)
        return kernel * (scale / length).reshape((1,) * len(axes) + (-1,))


class SpectralNorm(nn.Module):
    """The kernel, as a matrix onto output channels, over its largest singular value.

    Miyato et al., 2018. The vector ``u`` of the power iteration lies in the collection
    ``spectral_norm``; it takes one step where that collection is mutable
    (``apply(..., mutable=["spectral_norm"])``), and no gradient passes through it.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "*space c_in c_out"]) -> Float[Array, "..."]:
        matrix = kernel.reshape(-1, kernel.shape[-1])
        start = functools.partial(jnp.full, matrix.shape[-1:], matrix.shape[-1] ** -0.5)
        u = self.variable("spectral_norm", "u", start, jnp.float32)
        fixed = lax.stop_gradient(matrix)
        v = _unit(fixed @ u.value)
        if self.is_mutable_collection("spectral_norm"):
            u.value = _unit(v @ fixed)
        return kernel / (v @ matrix @ u.value)


def _unit(x: Array) -> Array:
    return x * lax.rsqrt(jnp.sum(x**2) + 1e-12)


class _Kernel(nn.Module):
    """What the layers below share: a float32 kernel and bias, computed with in ``dtype``."""

    features: int
    kernel_size: Sequence[int] = (3, 3)
    _: dataclasses.KW_ONLY
    use_bias: bool = True
    mask: Callable[[tuple[int, ...]], np.ndarray] | None = None
    kernel_norm: nn.Module | None = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32

    def linear(self, x: Array, kernel: Array) -> Array:
        """What each of the layers below does with its kernel: this class alone is not a layer."""
        raise NotImplementedError  # a layer's

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space c_in"]) -> Float[Array, "batch *out c_out"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.mask is not None:
            kernel = kernel * jnp.broadcast_to(self.mask(shape), shape)
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(kernel)
        y = self.linear(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class Conv(_Kernel):
    """``conv`` as a layer with parameters ``kernel`` [*kernel_size, c_in, features] and ``bias``.

    ``padding`` is ``"SAME"``, ``"VALID"``, ``"REFLECT"`` or pairs, as there.
    ``mask`` maps the kernel's shape to an array that is broadcast against it and multiplies it.
    ``kernel_norm`` is a module that maps kernel to kernel: ``WeightNorm()``, ``SpectralNorm()``.
    """

    strides: Sizes = 1
    padding: Padding = "SAME"
    dilation: Sizes = 1

    def linear(self, x: Array, kernel: Array) -> Array:
        return conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            masked=self.mask is not None,
        )


class ConvTranspose(_Kernel):
    """``conv_transpose`` as a layer, with the same parameters and options as ``Conv``."""

    strides: Sizes = 2
    padding: Padding = "SAME"

    def linear(self, x: Array, kernel: Array) -> Array:
        return conv_transpose(x, kernel, strides=self.strides, padding=self.padding)


class UpsampleConv(_Kernel):
    """``upsample_conv`` as a layer: twice the size, no checkerboard."""

    def linear(self, x: Array, kernel: Array) -> Array:
        return upsample_conv(x, kernel)


class ConvMeanPool(_Kernel):
    """``conv_mean_pool`` as a layer: half the size."""

    def linear(self, x: Array, kernel: Array) -> Array:
        return conv_mean_pool(x, kernel)
