"""Convolutions of kernel 2s and stride s with 9 products where 16 are due, for the CPU.

Winograd's minimal filtering F(2, 2) (1980; for images, Lavin & Gray 2015, 1509.09308): two outputs
y of two taps k need three products, not four, and sums:

    y_0 = (x_0 - x_1) k_0 + x_1 (k_0 + k_1)
    y_1 = x_1 (k_0 + k_1) - (x_1 - x_2) k_1

Along both axes of an image that makes 9 products for 16, for the four pixels of a tile. With
blocks of s pixels as channels, kernel 2s and stride s are two taps and stride one: what DCGAN's
networks are made of, and upsampling by repetition, too. As a form of all three operands it is

    <y, conv(x, k)> = sum_i <M_i y, (V_i x) (U_i k)>        i = 1 ... 9

so each of the three maps is: take apart two operands, multiply, put together the third by the
adjoint. The products are plain matrix products of many rows, which is what the CPU does best. An
output reads what lies under its own kernel and nothing else, and differs from the direct sum by
rounding: in float32, at DCGAN's sizes, by a millionth or two of the largest output.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from gen_jax.nn.conv.geometry import Geometry, blocks, interleave, kernel_blocks, pad
from gen_jax.typing import Array

CHUNK_BYTES = 2**24  # of a chunk's parts: the best of 1 to 64 MiB on two x86 cores

Parts = Sequence[Array]


def fits(geometry: Geometry) -> bool:
    """Whether the kernel spans two strides along both axes of an image, and strides there are."""
    g = geometry
    doubled = tuple(2 * s for s in g.strides)
    return g.kernel_size == doubled and g.dilation == (1, 1) and min(g.strides) > 1


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
    n = _chunk(len(x), g, c_in, c_out, x.dtype.itemsize)
    x, y = (a.reshape(n, -1, *a.shape[1:]) for a in (x, y))

    def products(i: Array | int) -> list[Array]:
        images, outputs = (lax.dynamic_index_in_dim(a, i, 1, keepdims=False) for a in (x, y))
        pairs = zip(_output_parts(outputs, g), _input_parts(images, g), strict=True)
        # Transposing the outputs, in practice the narrower, is 1.1 to 1.3 times faster at all but
        # the widest of DCGAN's layers.
        return [_rows(a).T @ _rows(b) for a, b in pairs]

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


def _tiles(geometry: Geometry) -> tuple[int, ...]:
    """How many pairs of outputs lie along each axis."""
    return tuple(-(-m // 2) for m in geometry.output_size)


def _input_parts(x: Array, geometry: Geometry) -> list[Array]:
    """V x: nine of [B, *tiles, block of pixels]."""
    g = geometry
    rows = zip(_tiles(g), g.strides, g.input_size, g.pads, strict=True)
    x = pad(x, [(low, s * (2 * t + 1) - n - low) for t, s, n, (low, _) in rows])

    def along(axis: int, x: Array) -> tuple[Array, ...]:
        n = x.shape[axis]
        a, b, c = (lax.slice_in_dim(x, i, n - 2 + i, 2, axis) for i in range(3))
        return a - b, b, b - c

    return [part for row in along(1, blocks(x, g.strides)) for part in along(2, row)]


def _input_whole(parts: Parts, geometry: Geometry) -> Array:
    """[B, *input_size, c_in] from nine parts; neighbouring tiles add up where they meet."""
    g = geometry

    def along(axis: int, p: Array, q: Array, r: Array) -> Array:
        last, first, none = [(0, 0)] * 2, [(0, 0)] * 2, [(0, 0)] * 2
        last[axis - 1], first[axis - 1] = (0, 1), (1, 0)
        even = pad(p, last) - pad(r, first)
        odd = pad(q + r - p, last)
        none[axis - 1] = (0, -1)  # the odd one after the last even one
        steps = tuple(2 if i == axis else 1 for i in (1, 2))
        both = jnp.concatenate([even, odd], axis=-1)
        return pad(interleave(both, steps), none)

    x = along(1, *(along(2, *parts[i : i + 3]) for i in (0, 3, 6)))
    rows = zip(g.input_size, g.pads, _tiles(g), g.strides, strict=True)
    crops = [(-low, n + low - s * (2 * t + 1)) for n, (low, _), t, s in rows]
    return pad(interleave(x, g.strides), crops)


def _kernel_parts(kernel: Array, geometry: Geometry) -> list[Array]:
    """U k: nine of [block of pixels, c_out]."""

    def along(a: Array, b: Array) -> tuple[Array, ...]:
        return a, a + b, b

    rows = along(*kernel_blocks(kernel, geometry))
    return [part for row in rows for part in along(*row)]


def _kernel_whole(parts: Parts, geometry: Geometry, c_in: int) -> Array:
    def along(p: Array, q: Array, r: Array) -> Array:
        return jnp.stack([p + q, q + r])

    kernel = along(*(along(*parts[i : i + 3]) for i in (0, 3, 6)))
    kernel = interleave(kernel.reshape(1, 2, 2, -1), geometry.strides)
    return kernel.reshape(*geometry.kernel_size, c_in, -1)


def _output_parts(y: Array, geometry: Geometry) -> list[Array]:
    """M y: nine of [B, *tiles, c_out]."""
    tiles = _tiles(geometry)
    y = pad(y, [(0, 2 * t - m) for t, m in zip(tiles, geometry.output_size, strict=True)])
    y = y.reshape(len(y), tiles[0], 2, tiles[1], 2, -1)

    def along(a: Array, b: Array) -> tuple[Array, ...]:
        return a, a + b, -b

    rows = along(y[:, :, 0], y[:, :, 1])
    return [part for row in rows for part in along(row[:, :, :, 0], row[:, :, :, 1])]


def _outputs_whole(parts: Parts, geometry: Geometry) -> Array:
    def along(p: Array, q: Array, r: Array) -> tuple[Array, Array]:
        return p + q, q - r

    columns = (along(*parts[i : i + 3]) for i in (0, 3, 6))
    tile = [y for row in zip(*columns, strict=True) for y in along(*row)]
    # Its pixels are by column, then row, so far.
    y = interleave(jnp.concatenate([tile[i] for i in (0, 2, 1, 3)], axis=-1), (2, 2))
    ends = zip(geometry.output_size, y.shape[1:3], strict=True)
    return pad(y, [(0, m - n) for m, n in ends])


# A few images at a time, so that their parts stay in the cache


def _chunk(batch: int, geometry: Geometry, c_in: int, c_out: int, itemsize: int) -> int:
    """Images at once, a divisor of the batch: their parts fill the cache, or match the kernel's."""
    block = c_in * math.prod(geometry.strides)
    image = 9 * math.prod(_tiles(geometry)) * max(block, c_out) * itemsize
    fit = max(CHUNK_BYTES, 9 * block * c_out * itemsize) // image
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
