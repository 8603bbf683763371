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
WIDE = 2**17  # elements of a kernel that YNNPACK, a part of XLA, divides among cores

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

    @property
    def reversed(self) -> "Geometry":
        """Of the convolution from outputs to inputs, where the stride is one."""
        sides = zip(self.reach, self.pads, strict=True)
        pads = tuple((r - 1 - low, r - 1 - high) for r, (low, high) in sides)
        return dataclasses.replace(self, pads=pads, input_size=self.output_size)


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


def _flipped(kernel: Array) -> Array:
    """The kernel of the convolution back: taps reversed, channels exchanged."""
    return jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)


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


def _cpu_apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    g, (c_in, c_out) = geometry, kernel.shape[-2:]
    if max(g.strides) == 1:
        if c_out <= NARROW and c_out < c_in:
            return _cpu_input(x, _flipped(kernel), g.reversed)
        return _on_all_cores(x, kernel, g)
    # Blocks of pixels as channels: whole blocks fill the vector registers that so few channels
    # leave empty; blocks along the last axis alone need no copy, and leave it at stride one.
    block = g.strides
    if c_in * math.prod(g.strides) > NARROW:
        if len(g.strides) != 2 or max(g.dilation) > 1 or kernel.size >= WIDE:
            return _xla_apply(x, kernel, g)
        block = (1, g.strides[1])
    steps = tuple(s // b for s, b in zip(g.strides, block, strict=True))
    kernel = _kernel_blocks(kernel, dataclasses.replace(g, strides=block))
    sides = zip(g.input_size, g.pads, g.output_size, g.strides, kernel.shape, block, strict=False)
    fit = [(low, s * (m - 1) + k * b - n - low) for n, (low, _), m, s, k, b in sides]
    x = _blocks(_pad(x, fit), block)
    none, ones = ((0, 0),) * len(fit), (1,) * len(fit)
    return _on_all_cores(x, kernel, Geometry(steps, none, ones, x.shape[1:-1], kernel.shape[:-2]))


def _on_all_cores(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's convolution, where the last axis has stride one.

    XLA's CPU backend gives images to YNNPACK, which keeps small kernels to one core, unless the
    output is longer than the input on some axis. So the last axis grows until it is, and is
    cropped: 6.7 ms for 12.3 with kernels 3x3x64x64 on 64 maps of 14x14 and two cores. With few
    channels the other way, Eigen's, is slower than one core of YNNPACK.
    """
    g, size = geometry, geometry.output_size
    longer = any(m > n for m, n in zip(size, g.input_size, strict=True))
    if len(size) != 2 or longer or kernel.size >= WIDE or x.shape[-1] < NARROW // 2:
        return _xla_apply(x, kernel, g)
    low, high = g.pads[-1]
    pads = (*g.pads[:-1], (low, high + g.input_size[-1] + 1 - size[-1]))
    y = _xla_apply(x, kernel, dataclasses.replace(g, pads=pads))
    return lax.slice_in_dim(y, 0, size[-1], axis=-2)


def _cpu_input(y: Array, kernel: Array, geometry: Geometry) -> Array:
    g, n = geometry, len(geometry.strides)
    strided = max(g.strides) > 1
    dilation = (1,) * n if strided else g.dilation
    kernel = _kernel_blocks(kernel, g) if strided else kernel
    # The blocks of pixels that hold the image, counted from the first that y's corner reaches.
    rows = list(zip(g.input_size, g.pads, g.strides, strict=True))
    span = [(low // s, -(-(low + m) // s)) for m, (low, _), s in rows]
    if kernel.shape[-2] <= NARROW:
        x = _product_then_shifts(y, kernel, dilation, span)
    else:
        size = kernel.shape[:-2]
        reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
        sides = zip(span, reach, y.shape[1:-1], strict=True)
        pads = tuple((r - first, last - m) for (first, last), r, m in sides)
        once = Geometry((1,) * n, pads, dilation, y.shape[1:-1], size)
        x = _on_all_cores(y, _flipped(kernel), once)
    x = _interleave(x, g.strides) if strided else x
    crops = zip(span, rows, strict=True)
    return _pad(x, [(f * s - low, m + low - e * s) for (f, e), (m, (low, _), s) in crops])


def _product_then_shifts(y: Array, kernel: Array, dilation, span) -> Array:
    """The input gradient, stride one, at positions ``span`` (first, last) of y's full reach.

    Each tap's share by one product, then their sum, each at its place: the narrow output is
    written once a tap, where a convolution would gather the wide input once a tap.
    """
    size = kernel.shape[:-2]
    shares = y @ kernel.reshape(-1, kernel.shape[-1]).T
    shares = shares.reshape(*y.shape[:-1], math.prod(size), -1)
    placed = []
    for i, tap in enumerate(itertools.product(*map(range, size))):
        sides = zip(tap, dilation, span, y.shape[1:-1], strict=True)
        pads = [(t * d - first, last - m - t * d) for t, d, (first, last), m in sides]
        placed.append(_pad(shares[..., i, :], pads))
    return functools.reduce(jnp.add, placed)


def _cpu_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    g, c_in, c_out = geometry, x.shape[-1], y.shape[-1]
    if max(g.strides) == 1 and c_out < c_in:  # patches of the narrower of the two
        return _flipped(_cpu_kernel(y, x, g.reversed))
    images, rows = _chunk(g, y.shape[0], c_in * x.dtype.itemsize)
    pieces = -(-g.output_size[0] // rows)
    # Blocks of pixels are copied at once: of the last axis, and of those that the kernel fills.
    axes = list(zip(g.kernel_size, g.strides, g.dilation, strict=True))
    block = [s if d == 1 and k % s == 0 else 1 for k, s, d in axes[:-1]]
    block.append(g.strides[-1] if g.dilation[-1] == 1 else 1)
    taps = [-(-k // b) for k, b in zip(g.kernel_size, block, strict=True)]

    # Fit x to its patches in whole blocks, and the first axis of both to whole pieces.
    steps = (pieces * rows, *g.output_size[1:])
    sides = zip(steps, g.strides, g.reach, block, strict=True)
    spans = [(m - 1) * s + r + -r % b for m, s, r, b in sides]
    sides = zip(spans, g.input_size, g.pads, strict=True)
    pads = [(low, span - n - low) for span, n, (low, _) in sides]
    if pieces > 1:
        x = _pad(x, [pads[0], *((0, 0) for _ in pads[1:])])
        y = _pad(y, [(0, m - n) for m, n in zip(steps, g.output_size, strict=True)])
        pads[0] = (0, 0)

    # A chunk takes every nth image, so that a sharded batch stays where it is.
    x, y = (a.reshape(images, -1, *a.shape[1:]) for a in (x, y))
    tall = x.shape[2] - (pieces - 1) * rows * g.strides[0]

    def piece(a, i, start, height):
        at = (0, i // pieces, i % pieces * start, *(0 for _ in a.shape[3:]))
        return lax.dynamic_slice(a, at, (images, 1, height, *a.shape[3:]))[:, 0]

    def add(i, totals):
        # Padded here, in the cache: 4.6 ms for 6.7 with kernels 4x4x6x32 on 64 maps of 64x64.
        patches = _blocks(_pad(piece(x, i, rows * g.strides[0], tall), pads), block)
        products = _products(piece(y, i, rows, rows), _patches(patches, g, block))
        return [total + product for total, product in zip(totals, products, strict=True)]

    columns = math.prod(block) * c_in
    widths = [columns] * math.prod(taps) if _apart(columns) else [columns * math.prod(taps)]
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    totals = [jnp.zeros((c_out, width), dtype) for width in widths]
    totals = lax.fori_loop(0, x.shape[1] * pieces, add, totals)
    kernel = jnp.concatenate(totals, axis=-1).T.reshape(1, *taps, -1)
    kernel = _interleave(kernel, block)[0]
    kernel = kernel.reshape(*kernel.shape[:-1], c_in, c_out)
    return kernel[tuple(slice(k) for k in g.kernel_size)].astype(x.dtype)


def _chunk(geometry: Geometry, batch: int, pixel_bytes: int) -> tuple[int, int]:
    """Images (a divisor of the batch), and rows of them, whose patches stay in the cache."""
    height, *across = geometry.output_size
    row = math.prod(across) * math.prod(geometry.kernel_size) * pixel_bytes
    fit = max(PATCH_BYTES // max(row, 1), 1)
    if fit < 2 * height:
        pieces = -(-height // fit)
        return 1, -(-height // pieces)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n * height <= fit), height


def _apart(columns: int) -> bool:
    """Whether each tap of so many columns has its own product, which spares a copy.

    8.8 ms for 10.1 with kernels 4x4x32x64 on 64 maps of 32x32.
    """
    return columns >= 8 * NARROW


def _patches(x: Array, geometry: Geometry, block: Sequence[int]) -> list[Array]:
    """The pixels of ``_blocks`` under each tap, [B, *space, C], side by side where C is small."""
    views = []
    axes = list(zip(geometry.kernel_size, geometry.strides, geometry.dilation, block, strict=True))
    for tap in itertools.product(*(range(-(-k // b)) for k, _, _, b in axes)):
        view = x
        for axis, (t, (k, s, d, b)) in enumerate(zip(tap, axes, strict=True), start=1):
            after = (-(-k // b) - 1 - t) * d
            view = lax.slice_in_dim(view, t * d, view.shape[axis] - after, s // b, axis)
        views.append(view)
    return views if _apart(x.shape[-1]) else [jnp.concatenate(views, axis=-1)]


def _products(y: Array, patches: Sequence[Array]) -> list[Array]:
    """Sums the outer products of y's and each of the patches' channels: [c_out, C]."""
    y, *patches = (a.reshape(-1, a.shape[-1]) for a in (y, *patches))
    dtype = jnp.promote_types(y.dtype, jnp.float32)
    if len(patches) == 1 and y.shape[1] > patches[0].shape[1]:
        return [jnp.matmul(_left(patches[0], y), y, preferred_element_type=dtype).T]
    left = _left(y, patches[0])
    return [jnp.matmul(left, p, preferred_element_type=dtype) for p in patches]


def _left(narrow: Array, wide: Array) -> Array:
    # XLA multiplies by a transposed left matrix at half speed unless it is narrow, or is
    # transposed in memory first; the barrier keeps XLA from undoing that.
    return lax.optimization_barrier(narrow.T) if wide.shape[1] >= 8 * NARROW else narrow.T


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
