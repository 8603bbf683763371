"""The one convolution of the library, channels last, with derivatives that are fast on CPUs too.

XLA's CPU backend computes the gradient with respect to a kernel very slowly, and computes the
zeros that a stride leaves in the gradient with respect to the input. So ``conv`` states its own
derivative: the kernel's tangent is a product of gathered patches with the kernel, the input's
tangent of a strided convolution is a convolution with stride one over blocks of pixels. Both
are plain linear operations, so every transformation (reverse and forward mode, any order,
``vmap``) follows from JAX's own rules. On other platforms XLA's own derivatives are used.

Functions take any number of spatial axes: ``[B, T, C]`` for sound, ``[B, H, W, C]`` for images.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from gen_jax.typing import Array

Pads = tuple[tuple[int, int], ...]
Padding = str | Sequence[tuple[int, int]]
Sizes = int | Sequence[int]


def conv(
    x: Float[Array, "batch *space c_in"],
    kernel: Float[Array, "*kernel_space c_in c_out"],
    *,
    strides: Sizes = 1,
    padding: Padding = "SAME",
    dilation: Sizes = 1,
) -> Float[Array, "batch *out_space c_out"]:
    """Correlates ``x`` with ``kernel``, as ``jax.lax.conv_general_dilated`` does.

    ``padding`` is ``"SAME"`` (output size is the input's over the stride, rounded up),
    ``"VALID"``, or a (low, high) pair for each spatial axis, which may be negative (a crop).
    ``dilation`` spreads the kernel's taps. Raises ``ValueError`` where ranks, channels or
    options do not fit.
    """
    n = _check(x, kernel)
    steps, spread = _per_axis("strides", strides, n), _per_axis("dilation", dilation, n)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:n], spread, strict=True)]
    pads = _conv_padding(padding, x.shape[1:-1], reach, steps)
    if max(kernel.shape[:n]) == 1:
        return _pixelwise(x, kernel, steps, pads)
    return _conv(steps, pads, spread, x, kernel)


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
    the spread-out input. Raises ``ValueError`` where ranks, channels or options do not fit.
    """
    n = _check(x, kernel)
    steps = _per_axis("strides", strides, n)
    pads = _transpose_padding(padding, kernel.shape[:n], steps)
    return _conv_transpose(steps, pads, x, kernel)


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
    for axis in range(n):
        edge = [(0, 0)] * kernel.ndim
        edge[axis] = (1, 0)
        shifted = jnp.pad(kernel, edge)
        edge[axis] = (0, 1)
        kernel = shifted + jnp.pad(kernel, edge)
    return _conv_transpose((2,) * n, pads, x, kernel)


# Shapes and options


def _check(x: Array, kernel: Array) -> int:
    if x.ndim != kernel.ndim or x.ndim < 3 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            "a convolution wants x [batch, *space, c_in] and kernel [*space, c_in, c_out], "
            f"got {x.shape} and {kernel.shape}"
        )
    return x.ndim - 2


def _per_axis(name: str, sizes: Sizes, n: int) -> tuple[int, ...]:
    sizes = (sizes,) * n if isinstance(sizes, int) else tuple(sizes)
    if len(sizes) != n or min(sizes) < 1:
        raise ValueError(f"{name} must be {n} positive integers (or one for all), got {sizes}")
    return sizes


def _explicit(padding: Sequence[tuple[int, int]], n: int) -> Pads:
    if isinstance(padding, str) or len(padding) != n:
        raise ValueError(
            f'padding must be "SAME", "VALID" or {n} (low, high) pairs, got {padding!r}'
        )
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
    return _explicit(padding, len(sizes))


def _transpose_padding(padding: Padding, sizes: Sequence[int], strides: Sequence[int]) -> Pads:
    pairs = zip(sizes, strides, strict=True)
    if padding == "VALID":
        return tuple((k - 1, k - 1 + max(s - k, 0)) for k, s in pairs)
    if padding == "SAME":
        totals = [(k - 1 if s > k - 1 else -(-(k + s - 2) // 2), k + s - 2) for k, s in pairs]
        return tuple((low, total - low) for low, total in totals)
    return _explicit(padding, len(sizes))


def _dimension_numbers(n: int) -> lax.ConvDimensionNumbers:
    image, kernel = (0, n + 1, *range(1, n + 1)), (n + 1, n, *range(n))
    return lax.ConvDimensionNumbers(image, kernel, image)


def _xla_conv(x, kernel, strides, pads, dilation, spread=None) -> Array:
    n = x.ndim - 2
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=_dimension_numbers(n),
    )


# The convolution and its derivative


def _pixelwise(x: Array, kernel: Array, strides: Sequence[int], pads: Pads) -> Array:
    """A kernel of one tap is a matrix product, with fast derivatives as it stands."""
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)))
    x = lax.slice(x, (0,) * x.ndim, x.shape, (1, *strides, 1))
    return x @ kernel.reshape(kernel.shape[-2:])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _conv(strides, pads, dilation, x, kernel):
    return _xla_conv(x, kernel, strides, pads, dilation)


@functools.partial(_conv.defjvp, symbolic_zeros=True)
def _conv_jvp(strides, pads, dilation, primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _conv(strides, pads, dilation, x, kernel)
    xla = functools.partial(_xla_conv, strides=strides, pads=pads, dilation=dilation)
    by_patches = functools.partial(_patches_conv, strides=strides, pads=pads, dilation=dilation)
    by_blocks = functools.partial(_blocks_conv, strides=strides, pads=pads, dilation=dilation)
    return y, _sum_of_tangents(
        (by_patches, xla, x, dkernel),
        (by_blocks if max(strides) > 1 else xla, xla, dx, kernel),
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _conv_transpose(strides, pads, x, kernel):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_phases_conv_transpose, strides=strides, pads=pads),
        default=functools.partial(_xla_conv_transpose, strides=strides, pads=pads),
    )


@functools.partial(_conv_transpose.defjvp, symbolic_zeros=True)
def _conv_transpose_jvp(strides, pads, primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _conv_transpose(strides, pads, x, kernel)
    xla = functools.partial(_xla_conv_transpose, strides=strides, pads=pads)
    by_patches = functools.partial(_patches_conv_transpose, strides=strides, pads=pads)
    by_phases = functools.partial(_phases_conv_transpose, strides=strides, pads=pads)
    return y, _sum_of_tangents((by_patches, xla, x, dkernel), (by_phases, xla, dx, kernel))


def _sum_of_tangents(*terms: tuple[Callable, Callable, Any, Any]) -> Array:
    """Adds the tangents (CPU's form, other platforms' form, operands) that are not zero."""
    total = None
    for on_cpu, elsewhere, x, kernel in terms:
        if isinstance(x, jax.custom_derivatives.SymbolicZero) or isinstance(
            kernel, jax.custom_derivatives.SymbolicZero
        ):
            continue
        tangent = lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)
        total = tangent if total is None else total + tangent
    assert total is not None, "JAX calls a rule only where some tangent is not zero"
    return total


# Forms for the CPU: linear in each operand, with transposes that are fast there


def _xla_conv_transpose(x, kernel, strides, pads):
    return _xla_conv(x, kernel, (1,) * len(strides), pads, None, strides)


def _pad_space(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)))


def _patches(x, size, strides, pads, dilation):
    """The pixels under each tap, side by side: [B, *out_space, taps * C]."""
    x = _pad_space(x, pads)
    n = len(size)
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    lengths = [(x.shape[i + 1] - reach[i] - 1) // strides[i] + 1 for i in range(n)]
    taps = []
    for tap in itertools.product(*map(range, size)):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        stop = [a + (m - 1) * s + 1 for a, m, s in zip(start, lengths, strides, strict=True)]
        taps.append(
            lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))
        )
    return jnp.concatenate(taps, axis=-1)


def _patches_conv(x, kernel, strides, pads, dilation):
    size = kernel.shape[:-2]
    patches = _patches(x, size, strides, pads, dilation)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _to_blocks(x: Array, strides: Sequence[int]) -> Array:
    """[B, *(space * stride), C] -> [B, *space, strides * C]."""
    n = len(strides)
    shape = [x.shape[0]]
    for size, s in zip(x.shape[1:-1], strides, strict=True):
        shape += [size // s, s]
    x = x.reshape(*shape, x.shape[-1])
    x = x.transpose(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
    return x.reshape(*x.shape[: n + 1], -1)


def _from_blocks(x: Array, strides: Sequence[int]) -> Array:
    """The inverse of ``_to_blocks``."""
    n = len(strides)
    x = x.reshape(*x.shape[: n + 1], *strides, -1)
    order = [axis for i in range(n) for axis in (1 + i, 1 + n + i)]
    x = x.transpose(0, *order, 2 * n + 1)
    sizes = [x.shape[1 + 2 * i] * x.shape[2 + 2 * i] for i in range(n)]
    return x.reshape(x.shape[0], *sizes, x.shape[-1])


def _blocked_kernel(kernel: Array, strides: Sequence[int]) -> Array:
    """Taps grouped as ``_to_blocks`` groups pixels: [*blocks, strides * c_in, c_out]."""
    n = len(strides)
    room = [(0, -k % s) for k, s in zip(kernel.shape[:n], strides, strict=True)]
    kernel = jnp.pad(kernel, (*room, (0, 0), (0, 0)))
    shape = []
    for size, s in zip(kernel.shape[:n], strides, strict=True):
        shape += [size // s, s]
    kernel = kernel.reshape(*shape, *kernel.shape[n:])
    kernel = kernel.transpose(*range(0, 2 * n, 2), *range(1, 2 * n, 2), 2 * n, 2 * n + 1)
    return kernel.reshape(*kernel.shape[:n], -1, kernel.shape[-1])


def _blocks_conv(x, kernel, strides, pads, dilation):
    """A strided convolution as one with stride one over blocks of ``strides`` pixels."""
    n = len(strides)
    if max(dilation) > 1:
        zero = jnp.zeros((), kernel.dtype)
        kernel = lax.pad(kernel, zero, (*((0, 0, d - 1) for d in dilation), (0, 0, 0), (0, 0, 0)))
    size = kernel.shape[:n]
    fitted = []
    for length, (low, high), k, s in zip(x.shape[1:-1], pads, size, strides, strict=True):
        out = (length + low + high - k) // s + 1
        needed = s * (out + -(-k // s) - 1)
        fitted.append((low, needed - length - low))
    blocks = _to_blocks(_pad_space(x, fitted), strides)
    return _xla_conv(blocks, _blocked_kernel(kernel, strides), (1,) * n, [(0, 0)] * n, None)


def _phases_conv_transpose(x, kernel, strides, pads):
    """All output phases (position modulo stride) by one convolution, then interleaved."""
    n = len(strides)
    size = kernel.shape[:n]
    flipped = jnp.flip(kernel, range(n)).swapaxes(-1, -2)
    blocked = _blocked_kernel(flipped, strides)
    reach = blocked.shape[:n]
    phases = jnp.flip(blocked, range(n)).swapaxes(-1, -2)
    y = _from_blocks(_xla_conv(x, phases, (1,) * n, [(r - 1, r - 1) for r in reach], None), strides)
    # y is what "every input, every tap" gives; pads of k - 1 ask for just that.
    crops = []
    for length, full, k, s, (low, high) in zip(
        x.shape[1:-1], y.shape[1:-1], size, strides, pads, strict=True
    ):
        out = (length - 1) * s + 1 + low + high - k + 1
        first = low - (k - 1)
        crops.append((first, out - full - first))
    return _pad_space(y, crops)


def _patches_conv_transpose(x, kernel, strides, pads):
    """The same, by one product and a sum over taps; its kernel gradient is a product."""
    n = len(strides)
    size = kernel.shape[:n]

    def gather(y):  # the strided patches whose transpose is the sum over taps
        return _patches(
            y,
            size,
            strides,
            [(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(size, pads, strict=True)],
            (1,) * n,
        )

    out = tuple(
        (length - 1) * s + 1 + low + high - k + 1
        for length, s, (low, high), k in zip(x.shape[1:-1], strides, pads, size, strict=True)
    )
    flipped = jnp.flip(kernel, range(n))
    weights = jnp.moveaxis(flipped, -2, 0).reshape(kernel.shape[-2], -1)
    shape = jax.ShapeDtypeStruct((x.shape[0], *out, kernel.shape[-1]), x.dtype)
    return jax.linear_transpose(gather, shape)(x @ weights)[0]


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
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space c_in"]) -> Float[Array, "batch *out c_out"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(kernel)
        if self.mask is not None:
            kernel = kernel * jnp.broadcast_to(self.mask(shape), shape)
        y = self.linear(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class Conv(_Kernel):
    """A convolution layer with parameters ``kernel`` [*kernel_size, c_in, features] and ``bias``.

    ``mask`` maps the kernel's shape to an array that is broadcast against it and multiplies it.
    ``kernel_norm`` is a module that maps kernel to kernel: ``WeightNorm()``, ``SpectralNorm()``.
    """

    strides: Sizes = 1
    padding: Padding = "SAME"
    dilation: Sizes = 1

    def linear(self, x: Array, kernel: Array) -> Array:
        return conv(x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation)


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
