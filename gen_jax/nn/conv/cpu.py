"""How the CPU computes the three maps of a convolution (``primitive``).

XLA's CPU backend computes the transposes up to 30 times slower than a convolution of the same
arithmetic, and strided ones below a matrix product's speed, so

- small ones of 32-bit floats or finer, except downsampling ones, are left to XLA: ``xla``;
- kernels larger than the maps they meet are multiplied tap by tap, as stored: ``products``;
- kernels two or three times as long as their stride take half the products: ``winograd``;
- a strided convolution of few channels is a matrix product of the patches under the kernel;
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

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from gen_jax.nn.conv import products, winograd, xla
from gen_jax.nn.conv.geometry import (
    APPLY,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    Geometry,
    Roles,
    Way,
    blocks,
    flipped,
    interleave,
    kernel_blocks,
    pad,
    straightening,
)
from gen_jax.typing import Array

PATCH_BYTES = 2**21  # about a second-level cache: the best of 0.5 to 16 MiB on two x86 cores
NARROW = 16  # channels that fill a vector register
FEW_ROWS = 128  # pixels of outputs, of all images
SMALL = 2**20  # products
WIDE = 2**17  # elements of a kernel that XLA's part YNNPACK divides among cores
MANY_PRODUCTS = 2**28


def _choosing(roles: Roles, by_xla: Way, by_products: Way) -> Callable[[Way], Way]:
    """Makes a way give way to ``xla`` or ``products`` where those are better, and take turned
    kernels."""

    def decorate(way: Way) -> Way:
        otherwise = straightening(roles)(way)

        @functools.wraps(way)
        def chosen(a: Array, b: Array, geometry: Geometry) -> Array:
            channels = b.shape[-2:] if roles[1] == "kernel" else (a.shape[-1], b.shape[-1])
            sizes = geometry, len(a), math.prod(channels)
            if _larger_than_its_maps(*sizes):
                return by_products(a, b, geometry)
            strided = roles == APPLY and max(geometry.strides) > 1  # where XLA is 20 times slower
            small = _small(*sizes) and not strided and _fine(a.dtype)
            return (by_xla if small else otherwise)(a, b, geometry)

        return chosen

    return decorate


def _small(geometry: Geometry, batch: int, channels: int) -> bool:
    """Whether compiling counts for more than computing.

    One operation compiles faster than the many of the ways below, which XLA besides repeats in
    each operation that reads what they give: a step of CycleGAN's least networks, on 8x8 pixels, is
    161,000 of them, and compiles in 13.7 s; by this way 22,000, in 2.4 s. Up to so many products
    either way takes a millisecond or two at most.
    """
    outputs = batch * math.prod(geometry.output_size)
    return outputs * math.prod(geometry.kernel_size) * channels <= SMALL


def _larger_than_its_maps(geometry: Geometry, batch: int, channels: int) -> bool:
    """Whether reading the kernel counts for more than multiplying by it.

    Milliseconds on two x86 cores, for 4x4 kernels and the ways that follow. Transposed, 1024 to 512
    channels, on one 2x2 map: 3 for 132, and its gradients 20 for 221; on one of 8x8: 14 for 144,
    and 45 for 308; 512 to 256 on 16 of 2x2: 4 for 17, and 10 for 35. Convolutions, 512 to 512, to
    one 8x8 map: 7 for 30, and 14 for 60; 256 to 256, to 16 of 2x2, the same. From 256 rows on most
    are slower.
    """
    rows = batch * math.prod(geometry.output_size)
    return rows <= FEW_ROWS and math.prod(geometry.kernel_size) * channels >= WIDE


@_choosing(APPLY, xla.apply, products.apply)
def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.apply``."""
    g, (c_in, c_out) = geometry, kernel.shape[-2:]
    if _minimal(g, len(x), c_in, c_out, x.dtype):
        return winograd.apply(x, kernel, g)
    if max(g.strides) == 1:
        if c_out <= NARROW and c_out < c_in:
            return input_gradient(x, flipped(kernel), g.reversed)
        return _on_all_cores(x, kernel, g)
    # Blocks of pixels as channels: whole blocks fill the vector registers that so few channels
    # leave empty; blocks along the last axis alone need no copy, and leave it at stride one.
    block = g.strides
    if c_in * math.prod(g.strides) > NARROW:
        if len(g.strides) != 2 or max(g.dilation) > 1 or kernel.size >= WIDE:
            return xla.convolution(x, kernel, g)
        block = (1, g.strides[1])
    steps = tuple(s // b for s, b in zip(g.strides, block, strict=True))
    kernel = kernel_blocks(kernel, dataclasses.replace(g, strides=block))
    taps = kernel.shape[:-2]
    sides = zip(g.input_size, g.pads, g.output_size, g.strides, taps, block, strict=True)
    fit = [(low, s * (m - 1) + k * b - n - low) for n, (low, _), m, s, k, b in sides]
    x = blocks(pad(x, fit), block)
    none, ones = ((0, 0),) * len(fit), (1,) * len(fit)
    g = Geometry(steps, none, ones, x.shape[1:-1], taps)
    if max(steps) > 1:
        return _on_all_cores(x, kernel, g)
    patches = jnp.concatenate(_patches(x, g, ones), axis=-1)
    return patches @ kernel.reshape(-1, c_out)


def _minimal(
    geometry: Geometry,
    batch: int,
    c_in: int,
    c_out: int,
    dtype: DTypeLike,
    *,
    of_kernel: bool = False,  # whether its gradient is what is computed
) -> bool:
    """Whether ``winograd`` is the faster way, and numbers are fine enough for its sums.

    Milliseconds on two x86 cores of the map and its two gradients, each "for" the other ways':

    - 2x3 taps, stride one, 32 maps of 28x28, 128 to 256 channels: 44 for 67, 39 for 73, 55 for 109.
    - 16 maps, 64 to 128 channels: 7.3 for 8.3, 8.6 for 8.9, 7.7 for 13.9; but PixelCNN++'s step,
      which is made of these, takes 1.1 times as long. 32 to 64 channels: no faster alone.
    - 3x3 taps, 16 maps of 16x16, 128 to 128 channels: 4.2 for 7.4, 4.4 for 6.4, 5.0 for 12.9; 16
      maps of 5x5 (59 million products): 1.2 for 0.8, 1.1 for 0.8, 0.9 for 1.0.
    - Where a map's parts leave the cache its kernel gradient is slower: one map of 128x128, 64 to
      64 channels, 18 for 15.
    """
    g = geometry
    if not (winograd.fits(g) and _fine(dtype)) or (g.masked and not of_kernel):
        return False
    narrowest = min(c_in * math.prod(g.strides), c_out)
    kernel = math.prod(g.kernel_size) * c_in * c_out
    if narrowest <= NARROW or kernel < (WIDE // 4 if of_kernel else WIDE):
        return False
    if max(g.strides) > 1:
        return True
    if of_kernel:
        return winograd.in_cache(g, c_in, c_out, dtype)
    return batch * math.prod(g.output_size) * kernel >= MANY_PRODUCTS


def _fine(dtype: DTypeLike) -> bool:
    """Whether numbers are floats of 32 bits or more."""
    return bool(jnp.issubdtype(dtype, jnp.inexact)) and jnp.finfo(dtype).bits >= 32


def _on_all_cores(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's convolution, where the last axis has stride one.

    XLA's CPU backend gives images to YNNPACK, which keeps small kernels to one core, unless the
    output is longer than the input on some axis. Wide kernels it gives to YNNPACK only where the
    output is no shorter than the input on some axis. So the last axis grows until it is, and is
    cropped: 6.7 ms for 12.3 with kernels 3x3x64x64 on 64 maps of 14x14 and two cores, 58 ms for
    146 with kernels 3x3x256x256 on 16 maps of 18x18 without padding. With few channels the other
    way, Eigen's, is slower than one core of YNNPACK.
    """
    g, size, few = geometry, geometry.output_size, x.shape[-1] < NARROW // 2
    more = int(kernel.size < WIDE)
    enough = any(m >= n + more for m, n in zip(size, g.input_size, strict=True))
    if len(size) != 2 or enough or few:
        return xla.convolution(x, kernel, g)
    low, high = g.pads[-1]
    pads = (*g.pads[:-1], (low, high + g.input_size[-1] + more - size[-1]))
    y = xla.convolution(x, kernel, dataclasses.replace(g, pads=pads))
    return lax.slice_in_dim(y, 0, size[-1], axis=-2)


@_choosing(INPUT_GRADIENT, xla.input_gradient, products.input_gradient)
def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.input_gradient``."""
    g, n, (c_in, c_out) = geometry, len(geometry.strides), kernel.shape[-2:]
    if _minimal(g, len(y), c_in, c_out, y.dtype):
        return winograd.input_gradient(y, kernel, g)
    strided = max(g.strides) > 1
    dilation = (1,) * n if strided else g.dilation
    kernel = kernel_blocks(kernel, g) if strided else kernel
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
        x = _on_all_cores(y, flipped(kernel), once)
    x = interleave(x, g.strides) if strided else x
    crops = zip(span, rows, strict=True)
    return pad(x, [(f * s - low, m + low - e * s) for (f, e), (m, (low, _), s) in crops])


def _product_then_shifts(y: Array, kernel: Array, dilation, span) -> Array:
    """The input gradient, stride one, at positions ``span`` (first, last) of y's full reach.

    Each tap's share by one product, then their sum, each at its place: the narrow output is
    written once per tap, where a convolution would gather the wide input once per tap.
    """
    size = kernel.shape[:-2]
    shares = y @ kernel.reshape(-1, kernel.shape[-1]).T
    shares = shares.reshape(*y.shape[:-1], math.prod(size), -1)
    placed = []
    for i, tap in enumerate(itertools.product(*map(range, size))):
        sides = zip(tap, dilation, span, y.shape[1:-1], strict=True)
        pads = [(t * d - first, last - m - t * d) for t, d, (first, last), m in sides]
        placed.append(pad(shares[..., i, :], pads))
    return functools.reduce(jnp.add, placed)


@_choosing(KERNEL_GRADIENT, xla.kernel_gradient, products.kernel_gradient)
def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """As ``primitive.kernel_gradient``."""
    g, c_in, c_out = geometry, x.shape[-1], y.shape[-1]
    if _minimal(g, len(x), c_in, c_out, x.dtype, of_kernel=True):
        return winograd.kernel_gradient(x, y, g)
    if max(g.strides) == 1 and c_out < c_in:  # patches of the narrower of the two
        return flipped(kernel_gradient(y, x, g.reversed))
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
        x = pad(x, [pads[0], *((0, 0) for _ in pads[1:])])
        y = pad(y, [(0, m - n) for m, n in zip(steps, g.output_size, strict=True)])
        pads[0] = (0, 0)

    # A chunk takes every nth image, so that a sharded batch stays where it is.
    x, y = (a.reshape(images, -1, *a.shape[1:]) for a in (x, y))
    tall = x.shape[2] - (pieces - 1) * rows * g.strides[0]

    def piece(a, i, start, height):
        at = (0, i // pieces, i % pieces * start, *(0 for _ in a.shape[3:]))
        return lax.dynamic_slice(a, at, (images, 1, height, *a.shape[3:]))[:, 0]

    def add(i, totals):
        # Padded here, in the cache: 4.6 ms for 6.7 with kernels 4x4x6x32 on 64 maps of 64x64.
        patches = blocks(pad(piece(x, i, rows * g.strides[0], tall), pads), block)
        products = _products(piece(y, i, rows, rows), _patches(patches, g, block))
        return [total + product for total, product in zip(totals, products, strict=True)]

    columns = math.prod(block) * c_in
    widths = [columns] * math.prod(taps) if _apart(columns) else [columns * math.prod(taps)]
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    totals = [jnp.zeros((c_out, width), dtype) for width in widths]
    totals = lax.fori_loop(0, x.shape[1] * pieces, add, totals)
    kernel = jnp.concatenate(totals, axis=-1).T.reshape(1, *taps, -1)
    kernel = interleave(kernel, block)[0]
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
    """The pixels of ``blocks`` under each tap, [B, *space, C], side by side where C is small."""
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
