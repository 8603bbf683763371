"""Kernels that span two or three strides, by half the products or fewer, for the CPU.

Winograd's minimal filtering (1980; for images, Lavin & Gray 2015, 1509.09308): two outputs y of two
taps k need three products instead of four, and of three taps four instead of six. F(2, 2):

    y_0 = (x_0 - x_1) k_0 + x_1 (k_0 + k_1)
    y_1 = x_1 (k_0 + k_1) - (x_1 - x_2) k_1

Along both axes of an image that makes 9 products for 16 (2x2 taps), 12 for 24 (2x3), or 16 for 36
(3x3), for the four pixels of a tile. With blocks of s pixels as channels, a kernel of 2s and stride
s is two taps and stride one: what DCGAN's networks are made of, and upsampling by repetition, too.
As a form of all three operands it is

    <y, conv(x, k)> = sum_i <A'_i y, (V_i x) (U_i k)>        i = 1 ... 9, 12 or 16

so each of the three maps is: take apart two operands, multiply, put together the third by the
adjoint. The products are plain matrix products of many rows, which is what the CPU does best. An
output reads what lies under its own kernel and nothing else (tiles of more outputs would not keep
that, which causal networks are held to), and differs from the direct sum by rounding: also by that
of pixels under a tap of zero, so that it is no way to compute masked kernels. In float32,
at DCGAN's and Gated PixelCNN's sizes, its error against float64 is 3e-7 to 6e-7 of the outputs'
root mean square, 0.5 to 2 times the direct sum's.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from gen_jax.nn.conv.geometry import Geometry, blocks, interleave, kernel_blocks, pad
from gen_jax.typing import Array

CHUNK_BYTES = 2**24  # of a chunk's parts: the best of 1 to 64 MiB on two x86 cores
TILE = 2  # outputs, along each axis

Parts = Sequence[Array]
Matrix = tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class Filter:
    """Two outputs along one axis: a row of ``inputs`` (V) and one of ``taps`` (U) for each product,
    and a row of products for each of the ``outputs`` (A)."""

    inputs: Matrix
    taps: Matrix
    outputs: Matrix


FILTERS = {  # by the number of taps
    2: Filter(
        inputs=((1, -1, 0), (0, 1, 0), (0, 1, -1)),
        taps=((1, 0), (1, 1), (0, 1)),
        outputs=((1, 1, 0), (0, 1, -1)),
    ),
    3: Filter(
        inputs=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        taps=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        outputs=((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
}


def fits(geometry: Geometry) -> bool:
    """Whether the kernel spans two or three strides along both axes of an image, undilated."""
    g = geometry
    pairs = zip(g.kernel_size, g.strides, strict=True)
    spans = all(k % s == 0 and k // s in FILTERS for k, s in pairs)
    return len(g.strides) == 2 and spans and max(g.dilation) == 1


def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.apply``."""
    g, (c_in, c_out) = geometry, kernel.shape[-2:]
    taps = _kernel_parts(kernel, g)

    def some(x: Array) -> Array:
        return _outputs_whole(_multiplied(_input_parts(x, g), taps), g)

    return _mapped(some, x, _chunk(len(x), g, c_in, c_out, x.dtype.itemsize))


def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.input_gradient``."""
    g, (c_in, c_out) = geometry, kernel.shape[-2:]
    taps = [tap.T for tap in _kernel_parts(kernel, g)]

    def some(y: Array) -> Array:
        return _input_whole(_multiplied(_output_parts(y, g), taps), g)

    return _mapped(some, y, _chunk(len(y), g, c_in, c_out, y.dtype.itemsize))


def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """As ``primitive.kernel_gradient``."""
    g, c_in, c_out = geometry, x.shape[-1], y.shape[-1]
    narrow = c_out < c_in * math.prod(g.strides)
    n = _chunk(len(x), g, c_in, c_out, x.dtype.itemsize)
    x, y = (a.reshape(n, -1, *a.shape[1:]) for a in (x, y))

    def products(i: Array | int) -> list[Array]:
        images, outputs = (lax.dynamic_index_in_dim(a, i, 1, keepdims=False) for a in (x, y))
        pairs = zip(_output_parts(outputs, g), _input_parts(images, g), strict=True)
        # Transposing the narrower is 1.1 to 1.3 times faster at all but the widest of DCGAN's
        # layers.
        return [_rows(a).T @ _rows(b) if narrow else (_rows(b).T @ _rows(a)).T for a, b in pairs]

    def add(i: Array, totals: list[Array]) -> list[Array]:
        return [total + product for total, product in zip(totals, products(i), strict=True)]

    totals = lax.fori_loop(1, x.shape[1], add, products(0))
    return _kernel_whole([total.T for total in totals], g, c_in)


def _multiplied(parts: Parts, taps: Parts) -> list[Array]:
    pairs = zip(parts, taps, strict=True)
    return [(_rows(part) @ tap).reshape(*part.shape[:-1], -1) for part, tap in pairs]


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


# The transforms of the operands, and their adjoints, of the results


def _filters(geometry: Geometry) -> tuple[Filter, Filter]:
    first, second = (k // s for k, s in zip(geometry.kernel_size, geometry.strides, strict=True))
    return FILTERS[first], FILTERS[second]


def _n_products(geometry: Geometry) -> int:
    return math.prod(len(f.taps) for f in _filters(geometry))


def _tiles(geometry: Geometry) -> tuple[int, ...]:
    """How many tiles of outputs lie along each axis."""
    return tuple(-(-m // TILE) for m in geometry.output_size)


def _transformed(parts: Parts, matrices: Sequence[Matrix]) -> list[Array]:
    """A matrix along each axis of a grid of parts, which is listed row by row."""
    along_rows, along_columns = matrices
    width = len(along_columns[0])
    rows = [_combined(parts[i : i + width], along_columns) for i in range(0, len(parts), width)]
    columns = [_combined(column, along_rows) for column in zip(*rows, strict=True)]
    return [part for row in zip(*columns, strict=True) for part in row]


def _combined(parts: Parts, matrix: Matrix) -> list[Array]:
    """The matrix times the vector of parts; its many zeros and ones take no arithmetic."""

    def scaled(factor: float, part: Array) -> Array:
        return part if factor == 1 else -part if factor == -1 else factor * part

    def row(factors: Sequence[float]) -> Array:
        pairs = zip(factors, parts, strict=True)
        return functools.reduce(jnp.add, (scaled(f, part) for f, part in pairs if f))

    return [row(factors) for factors in matrix]


def _adjoint(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _input_parts(x: Array, geometry: Geometry) -> list[Array]:
    """V x: for each product [B, *tiles, block of pixels]."""
    g, tiles, filters = geometry, _tiles(geometry), _filters(geometry)
    reach = [len(f.inputs[0]) for f in filters]
    rows = list(zip(tiles, reach, g.strides, g.input_size, g.pads, strict=True))
    x = pad(x, [(low, s * (TILE * (t - 1) + r) - n - low) for t, r, s, n, (low, _) in rows])
    x = blocks(x, g.strides)

    def along(axis: int, x: Array) -> list[Array]:
        span = TILE * (tiles[axis - 1] - 1) + 1
        places = range(reach[axis - 1])
        return [lax.slice_in_dim(x, i, i + span, TILE, axis) for i in places]

    views = [view for row in along(1, x) for view in along(2, row)]
    return _transformed(views, [f.inputs for f in filters])


def _input_whole(parts: Parts, geometry: Geometry) -> Array:
    """[B, *input_size, c_in] from its parts; neighbouring tiles add up where they meet."""
    g, filters = geometry, _filters(geometry)
    views = _transformed(parts, [_adjoint(f.inputs) for f in filters])

    def along(axis: int, views: Parts) -> list[Array]:
        ends, starts = [(0, 0)] * 2, [(0, 0)] * 2
        ends[axis - 1], starts[axis - 1] = (0, 1), (1, 0)
        own = [pad(view, ends) for view in views[:TILE]]  # and one tile more
        return [
            x + pad(views[TILE + i], starts) if TILE + i < len(views) else x
            for i, x in enumerate(own)
        ]

    width = len(filters[1].inputs[0])
    rows = [along(2, views[i : i + width]) for i in range(0, len(views), width)]
    columns = [along(1, column) for column in zip(*rows, strict=True)]
    x = _tiled([view for row in zip(*columns, strict=True) for view in row])
    x = interleave(x, g.strides)
    sides = zip(g.input_size, g.pads, x.shape[1:-1], strict=True)
    return pad(x, [(-low, n + low - m) for n, (low, _), m in sides])


def _kernel_parts(kernel: Array, geometry: Geometry) -> list[Array]:
    """U k: for each product [block of pixels, c_out]."""
    taps = [tap for row in kernel_blocks(kernel, geometry) for tap in row]
    return _transformed(taps, [f.taps for f in _filters(geometry)])


def _kernel_whole(parts: Parts, geometry: Geometry, c_in: int) -> Array:
    filters = _filters(geometry)
    taps = jnp.stack(_transformed(parts, [_adjoint(f.taps) for f in filters]))
    taps = taps.reshape(1, *(len(f.taps[0]) for f in filters), -1)
    kernel = interleave(taps, geometry.strides)
    return kernel.reshape(*geometry.kernel_size, c_in, -1)


def _output_parts(y: Array, geometry: Geometry) -> list[Array]:
    """A' y: for each product [B, *tiles, c_out]."""
    tiles = _tiles(geometry)
    y = pad(y, [(0, TILE * t - m) for t, m in zip(tiles, geometry.output_size, strict=True)])
    y = y.reshape(len(y), tiles[0], TILE, tiles[1], TILE, -1)
    views = [y[:, :, i, :, j] for i in range(TILE) for j in range(TILE)]
    return _transformed(views, [_adjoint(f.outputs) for f in _filters(geometry)])


def _outputs_whole(parts: Parts, geometry: Geometry) -> Array:
    y = _tiled(_transformed(parts, [f.outputs for f in _filters(geometry)]))
    ends = zip(geometry.output_size, y.shape[1:-1], strict=True)
    return pad(y, [(0, m - n) for m, n in ends])


def _tiled(views: Parts) -> Array:
    """One image from those of the pixels at each place of a tile."""
    return interleave(jnp.concatenate(views, axis=-1), (TILE, TILE))


# A few images at a time, so that their parts stay in the cache


def in_cache(geometry: Geometry, c_in: int, c_out: int, dtype: DTypeLike) -> bool:
    """Whether the parts of one image stay there."""
    return _image_bytes(geometry, c_in, c_out, jnp.dtype(dtype).itemsize) < CHUNK_BYTES


def _image_bytes(geometry: Geometry, c_in: int, c_out: int, itemsize: int) -> int:
    widest = max(c_in * math.prod(geometry.strides), c_out)
    return _n_products(geometry) * math.prod(_tiles(geometry)) * widest * itemsize


def _chunk(batch: int, geometry: Geometry, c_in: int, c_out: int, itemsize: int) -> int:
    """Images at once, a divisor of the batch: their parts fill the cache, or match the kernel's."""
    kernel = _n_products(geometry) * c_in * math.prod(geometry.strides) * c_out * itemsize
    fit = max(CHUNK_BYTES, kernel) // _image_bytes(geometry, c_in, c_out, itemsize)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max(fit, 1))


def _mapped(f: Callable[[Array], Array], x: Array, n: int) -> Array:
    """``f`` of every image, n at once: every (batch / n)th, so that shards stay where they are."""
    batch = len(x)
    if n == batch:
        return f(x)
    x = x.reshape(n, -1, *x.shape[1:])
    made = jax.eval_shape(f, x[:, 0])

    def fill(i: Array, y: Array) -> Array:
        some = lax.dynamic_index_in_dim(x, i, 1, keepdims=False)
        return lax.dynamic_update_index_in_dim(y, f(some), i, 1)

    empty = jnp.zeros((n, batch // n, *made.shape[1:]), made.dtype)
    return lax.fori_loop(0, batch // n, fill, empty).reshape(batch, *made.shape[1:])
