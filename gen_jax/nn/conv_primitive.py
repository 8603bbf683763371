"""Convolution as three maps that are each other's derivatives, and how the CPU computes them.

For images x, kernel k and outputs y, the form ``<y, conv(x, k)>`` is linear in each of the three.
Leave one out, and what is left is a bilinear map of the other two:

    (x, k) -> y   the convolution
    (y, k) -> x   its input gradient, which is also the transposed convolution
    (x, y) -> k   its kernel gradient

The derivatives of each map are the other two, so every order of reverse and forward mode stays
among these three. That is why they are primitives: JAX's functions with custom derivatives give
up either forward mode or their rule for the second derivative.

Off the CPU the maps are XLA's own convolution and its transposes. XLA's CPU backend computes the
transposes up to 30 times slower than a convolution of the same arithmetic, so there

- the input gradient computes all output phases (positions modulo the stride) by one convolution
  with stride one, and interleaves them;
- the kernel gradient is a matrix product of the patches under the kernel and ``y``, a few images
  at a time so that the patches stay in the cache.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gen_jax.typing import Array

PATCH_BYTES = 2**21  # about a second-level cache: the best of 0.5 to 16 MiB on two x86 cores
NARROW = 16  # channels that fill a vector register

Pads = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The static part of a convolution; one entry for each spatial axis."""

    strides: tuple[int, ...]
    pads: Pads  # (low, high); negative crops
    dilation: tuple[int, ...]
    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """How many pixels the kernel spans."""
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        return tuple((k - 1) * d + 1 for k, d in pairs)

    @property
    def output_size(self) -> tuple[int, ...]:
        rows = zip(self.input_size, self.pads, self.reach, self.strides, strict=True)
        return tuple(max(0, (n + sum(p) - r) // s + 1) for n, p, r, s in rows)


def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], kernel [*kernel_size, c_in, c_out] -> [B, *output_size, c_out]."""
    return _apply_p.bind(x, kernel, geometry=geometry)


def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """y [B, *output_size, c_out], kernel [*kernel_size, c_in, c_out] -> [B, *input_size, c_in]."""
    return _input_p.bind(y, kernel, geometry=geometry)


def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], y [B, *output_size, c_out] -> [*kernel_size, c_in, c_out]."""
    return _kernel_p.bind(x, y, geometry=geometry)


# XLA's own


def _xla_apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
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


def _xla_input(y: Array, kernel: Array, geometry: Geometry) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *geometry.input_size, kernel.shape[-2]), y.dtype)
    return jax.linear_transpose(lambda x: _xla_apply(x, kernel, geometry), x)(y)[0]


def _xla_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    kernel = jax.ShapeDtypeStruct((*geometry.kernel_size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _xla_apply(x, kernel, geometry), kernel)(y)[0]


# The CPU's


def _pad(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Pads, or where negative crops, the spatial axes."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)))


def _blocks(x: Array, strides: Sequence[int]) -> Array:
    """[B, *(size * stride), C] -> [B, *size, strides * C]."""
    n = len(strides)
    split = [part for m, s in zip(x.shape[1:-1], strides, strict=True) for part in (m // s, s)]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    x = x.transpose(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
    return x.reshape(*x.shape[: n + 1], -1)


def _interleave(y: Array, strides: Sequence[int]) -> Array:
    """The inverse of ``_blocks``."""
    n = len(strides)
    y = y.reshape(*y.shape[: n + 1], *strides, -1)
    y = y.transpose(0, *(axis for i in range(1, n + 1) for axis in (i, n + i)), 2 * n + 1)
    sizes = [math.prod(y.shape[2 * i - 1 : 2 * i + 1]) for i in range(1, n + 1)]
    return y.reshape(y.shape[0], *sizes, y.shape[-1])


def _kernel_blocks(kernel: Array, geometry: Geometry) -> Array:
    """The kernel whose stride-one convolution over ``_blocks`` is the strided one."""
    edges = [
        (0, -r % s, d - 1)
        for r, s, d in zip(geometry.reach, geometry.strides, geometry.dilation, strict=True)
    ]
    zero = jnp.zeros((), kernel.dtype)
    kernel = lax.pad(kernel, zero, (*edges, (0, 0, 0), (0, 0, 0)))
    # Put the input channels last but one axis, where _blocks expects channels, and back.
    c_in, c_out = kernel.shape[-2:]
    grouped = _blocks(kernel.reshape(1, *kernel.shape[:-2], c_in * c_out), geometry.strides)[0]
    return grouped.reshape(*grouped.shape[:-1], -1, c_out)


def _dense(geometry: Geometry, input_size: tuple[int, ...], pads: Pads, size) -> Geometry:
    ones = (1,) * len(pads)
    return Geometry(ones, pads, ones, input_size, size)


def _cpu_apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    g = geometry
    if max(g.strides) == 1 or x.shape[-1] * math.prod(g.strides) > 16:
        return _xla_apply(x, kernel, g)
    # With few channels, convolving blocks of pixels fills the vector units better.
    kernel = _kernel_blocks(kernel, g)
    sizes = zip(g.input_size, g.pads, g.output_size, kernel.shape, g.strides, strict=False)
    fit = [(low, s * (m + k - 1) - n - low) for n, (low, _), m, k, s in sizes]
    x = _blocks(_pad(x, fit), g.strides)
    none = ((0, 0),) * len(fit)
    return _xla_apply(x, kernel, _dense(g, x.shape[1:-1], none, kernel.shape[:-2]))


def _cpu_input(y: Array, kernel: Array, geometry: Geometry) -> Array:
    g, n = geometry, len(geometry.strides)
    strided = max(g.strides) > 1
    dilation = (1,) * n if strided else g.dilation
    kernel = _kernel_blocks(kernel, g) if strided else kernel
    size = kernel.shape[:-2]
    # The blocks of pixels that hold the image, counted from the first that y's corner reaches.
    first = [low // s for (low, _), s in zip(g.pads, g.strides, strict=True)]
    last = [
        -(-(low + m) // s) for (low, _), m, s in zip(g.pads, g.input_size, g.strides, strict=True)
    ]
    if kernel.shape[-2] <= NARROW:
        x = _product_then_shifts(y, kernel, dilation, first, last)
    else:
        reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
        pads = tuple(
            (r - a, b - m) for r, a, b, m in zip(reach, first, last, y.shape[1:-1], strict=True)
        )
        flipped = jnp.flip(kernel, range(n)).swapaxes(-1, -2)
        x = _xla_apply(y, flipped, Geometry((1,) * n, pads, dilation, y.shape[1:-1], size))
    if strided:
        x = _interleave(x, g.strides)
    crops = [
        (a * s - low, m - x_size + low - a * s)
        for a, s, (low, _), m, x_size in zip(
            first, g.strides, g.pads, g.input_size, x.shape[1:-1], strict=True
        )
    ]
    return _pad(x, crops)


def _product_then_shifts(y: Array, kernel: Array, dilation, first, last) -> Array:
    """Each tap's share of the input gradient by one product, then their sum, each at its place."""
    size = kernel.shape[:-2]
    shares = y @ kernel.reshape(-1, kernel.shape[-1]).T
    shares = shares.reshape(*y.shape[:-1], math.prod(size), -1)
    x = None
    for i, tap in enumerate(itertools.product(*map(range, size))):
        pads = [
            (t * d - a, b - m - t * d)
            for t, d, a, b, m in zip(tap, dilation, first, last, y.shape[1:-1], strict=True)
        ]
        share = _pad(shares[..., i, :], pads)
        x = share if x is None else x + share
    assert x is not None
    return x


def _cpu_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    g = geometry
    c_in, c_out = x.shape[-1], y.shape[-1]
    taps = math.prod(g.kernel_size)
    bytes_each = math.prod(g.output_size) * taps * c_in * x.dtype.itemsize
    batch = x.shape[0]
    chunks = next(
        (n for n in range(1, batch) if batch % n == 0 and batch // n * bytes_each <= PATCH_BYTES),
        max(batch, 1),
    )

    def product(x, y):
        patches = _patches(x, g)
        rows = [y.reshape(-1, c_out), patches.reshape(-1, patches.shape[-1])]
        left, right = rows if c_out < patches.shape[-1] else rows[::-1]  # XLA transposes the left
        product = lax.dot_general(
            left,
            right,
            (((0,), (0,)), ((), ())),
            preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
        )
        return product if c_out < patches.shape[-1] else product.T

    if chunks == 1:
        total = product(x, y)
    else:
        # Chunks take every nth image, so that a sharded batch stays where it is.
        x, y = (a.reshape(batch // chunks, chunks, *a.shape[1:]) for a in (x, y))
        each = jax.eval_shape(product, x[:, 0], y[:, 0])

        def add(i, total):
            return total + product(
                *(lax.dynamic_index_in_dim(a, i, 1, keepdims=False) for a in (x, y))
            )

        total = lax.fori_loop(0, chunks, add, jnp.zeros(each.shape, each.dtype))
    *rows, last = g.kernel_size
    kernel = total.reshape(c_out, *rows, -1, c_in)[..., :last, :]
    return jnp.moveaxis(kernel, 0, -1).astype(x.dtype)


def _patches(x: Array, geometry: Geometry) -> Array:
    """The pixels under each tap, side by side: [B, *output_size, taps * C].

    The last axis' taps are rounded up to a multiple of its stride, to copy runs of ``stride``
    pixels at once.
    """
    g = geometry
    run = g.strides[-1] if g.dilation[-1] == 1 else 1
    *rows, last = g.kernel_size
    taps = (*rows, -(-last // run))
    strides = (*g.strides[:-1], g.strides[-1] // run)
    spans = [
        (k - 1) * d + (m - 1) * s + 1
        for k, d, m, s in zip(taps, g.dilation, g.output_size, strides, strict=True)
    ]
    spans[-1] *= run
    fit = [
        (low, span - n - low) for span, n, (low, _) in zip(spans, g.input_size, g.pads, strict=True)
    ]
    x = _pad(x, fit)
    x = x.reshape(*x.shape[:-2], x.shape[-2] // run, run * x.shape[-1])
    views = []
    for tap in itertools.product(*map(range, taps)):
        start = [t * d for t, d in zip(tap, g.dilation, strict=True)]
        stop = [a + (m - 1) * s + 1 for a, m, s in zip(start, g.output_size, strides, strict=True)]
        views.append(
            lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))
        )
    return jnp.concatenate(views, axis=-1)


# The primitives


def _primitive(name: str, shape: Callable, elsewhere: Callable, on_cpu: Callable) -> Primitive:
    primitive = Primitive(name)

    @functools.partial(jax.jit, static_argnames="geometry")
    def alone(a, b, *, geometry):
        return primitive.bind(a, b, geometry=geometry)

    def aval(a, b, *, geometry):
        return a.update(shape=shape(a.shape, b.shape, geometry), weak_type=False)

    primitive.def_impl(alone)
    primitive.def_abstract_eval(aval)
    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), "cpu")
    return primitive


_apply_p = _primitive(
    "convolution",
    lambda x, kernel, g: (x[0], *g.output_size, kernel[-1]),
    _xla_apply,
    _cpu_apply,
)
_input_p = _primitive(
    "convolution_input_gradient",
    lambda y, kernel, g: (y[0], *g.input_size, kernel[-2]),
    _xla_input,
    _cpu_input,
)
_kernel_p = _primitive(
    "convolution_kernel_gradient",
    lambda x, y, g: (*g.kernel_size, x[-1], y[-1]),
    _xla_kernel,
    _cpu_kernel,
)

ad.defbilinear(
    _apply_p,
    lambda y, x, kernel, *, geometry: input_gradient(y, kernel, geometry),
    lambda y, x, kernel, *, geometry: kernel_gradient(x, y, geometry),
)
ad.defbilinear(
    _input_p,
    lambda x, y, kernel, *, geometry: apply(x, kernel, geometry),
    lambda x, y, kernel, *, geometry: kernel_gradient(x, y, geometry),
)
ad.defbilinear(
    _kernel_p,
    lambda kernel, x, y, *, geometry: input_gradient(y, kernel, geometry),
    lambda kernel, x, y, *, geometry: apply(x, kernel, geometry),
)


def _batch_image(primitive: Primitive, args, axes, *, geometry):
    """(image, kernel) -> image: more images are a larger batch; more kernels are a loop."""
    image, kernel = args
    if axes[1] is not None:
        return _batch_loop(primitive, args, axes, geometry=geometry)
    image = jnp.moveaxis(image, axes[0], 0)
    out = primitive.bind(image.reshape(-1, *image.shape[2:]), kernel, geometry=geometry)
    return out.reshape(*image.shape[:2], *out.shape[1:]), 0


def _batch_loop(primitive: Primitive, args, axes, *, geometry):
    size = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)

    def one(i):
        return primitive.bind(
            *(
                a if axis is None else lax.dynamic_index_in_dim(a, i, axis, keepdims=False)
                for a, axis in zip(args, axes, strict=True)
            ),
            geometry=geometry,
        )

    return lax.map(one, jnp.arange(size)), 0


batching.primitive_batchers[_apply_p] = functools.partial(_batch_image, _apply_p)
batching.primitive_batchers[_input_p] = functools.partial(_batch_image, _input_p)
batching.primitive_batchers[_kernel_p] = functools.partial(_batch_loop, _kernel_p)
