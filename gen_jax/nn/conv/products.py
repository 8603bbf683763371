"""Convolutions as one matrix product for each tap, of the kernel as it is stored, for the CPU.

Where a kernel is larger than the maps it meets, as innermost in a U-Net, what counts is how often
it is read. Other ways rearrange it first: ``winograd`` sums its blocks, XLA changes its layout, and
a transposed convolution's is turned round. Here it is read once, and only the taps that reach a
pixel: 4 of 16 for kernels 4x4 and stride 2 on a map of 2x2.
"""

import functools
import itertools
import math
from collections.abc import Iterator

import jax.numpy as jnp
from jax import lax

from gen_jax.nn.conv.geometry import Geometry, pad
from gen_jax.typing import Array


def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.apply``."""
    g, taps = geometry, _reaching(kernel, geometry)
    patches = _patches(x, g)
    if g.turned:
        y = _multiplied("tdc,tnc->tdn", taps, patches).sum(0).T
    else:
        rows = jnp.concatenate(patches, axis=-1)
        y = _multiplied("nc,cd->nd", rows, taps.reshape(rows.shape[-1], -1))
    return y.reshape(len(x), *g.output_size, -1).astype(x.dtype)


def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """As ``primitive.input_gradient``."""
    g, taps = geometry, _reaching(kernel, geometry)
    rows = y.reshape(-1, y.shape[-1])
    if g.turned:
        shares = _multiplied("tnd,tdc->tnc", _repeated(rows, len(taps)), taps)
    else:
        shares = _multiplied("tcd,nd->tcn", taps, rows).swapaxes(1, 2)
    shares = shares.reshape(len(taps), *y.shape[:-1], -1)
    placed = []
    for share, tap in zip(shares, _taps(g), strict=True):
        sides = zip(tap, g.dilation, g.pads, g.input_size, g.output_size, g.strides, strict=True)
        starts = [(t * d - low, n, m, s) for t, d, (low, _), n, m, s in sides]
        edges = [(start, n - start - (m - 1) * s - 1, s - 1) for start, n, m, s in starts]
        zero = jnp.zeros((), share.dtype)
        placed.append(lax.pad(share, zero, ((0, 0, 0), *edges, (0, 0, 0))))
    return functools.reduce(jnp.add, placed).astype(y.dtype)


def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """As ``primitive.kernel_gradient``."""
    g, rows = geometry, y.reshape(-1, y.shape[-1])
    patches = _patches(x, g)
    if g.turned:
        kernel = _multiplied("tnd,tnc->tdc", _repeated(rows, len(patches)), patches)
    else:
        # In memory transposed first: by a transposed left matrix products are slower.
        columns = patches.swapaxes(1, 2).reshape(-1, len(rows))
        kernel = _multiplied("cn,nd->cd", lax.optimization_barrier(columns), rows)
    reached = _stored(g)
    channels = (y.shape[-1], x.shape[-1]) if g.turned else (x.shape[-1], y.shape[-1])
    kernel = kernel.reshape(*map(len, reached), *channels).astype(x.dtype)
    edges = [(r.start, k - r.stop) for r, k in zip(reached, g.kernel_size, strict=True)]
    return jnp.pad(kernel, [*edges, (0, 0), (0, 0)])


def _multiplied(indices: str, a: Array, b: Array) -> Array:
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(indices, a, b, preferred_element_type=dtype)


def _repeated(rows: Array, n: int) -> Array:
    # One product for each tap leaves the kernel as it lies; one of all would transpose it.
    return jnp.broadcast_to(rows, (n, *rows.shape))


# The taps that reach a pixel, in the order that they are stored in


def _reached(geometry: Geometry) -> list[range]:
    """From the first to the last along each axis, as the convolution counts them."""

    def along(n: int, m: int, k: int, s: int, d: int, low: int) -> range:
        hits = [t for t in range(k) for i in range(m) if 0 <= i * s + t * d - low < n]
        return range(min(hits), max(hits) + 1) if hits else range(1)

    g = geometry
    lows = [low for low, _ in g.pads]
    sizes = g.input_size, g.output_size, g.kernel_size, g.strides, g.dilation, lows
    return [along(*axis) for axis in zip(*sizes, strict=True)]


def _stored(geometry: Geometry) -> list[range]:
    """Where these taps lie in the kernel."""
    g = geometry
    if not g.turned:
        return _reached(g)
    return [range(k - r.stop, k - r.start) for r, k in zip(_reached(g), g.kernel_size, strict=True)]


def _taps(geometry: Geometry) -> Iterator[tuple[int, ...]]:
    along = [r[::-1] if geometry.turned else r for r in _reached(geometry)]
    return itertools.product(*along)


def _reaching(kernel: Array, geometry: Geometry) -> Array:
    """These taps, [taps, c_in, c_out], or turned [taps, c_out, c_in]."""
    kernel = kernel[tuple(slice(r.start, r.stop) for r in _stored(geometry))]
    return kernel.reshape(-1, *kernel.shape[-2:])


def _patches(x: Array, geometry: Geometry) -> Array:
    """The pixels under each of these taps, [taps, rows of outputs, c_in]."""
    g = geometry
    sides = list(zip(g.output_size, g.strides, g.dilation, strict=True))
    spans = [(m - 1) * s + r for (m, s, _), r in zip(sides, g.reach, strict=True)]
    rows = zip(spans, g.input_size, g.pads, strict=True)
    x = pad(x, [(low, span - n - low) for span, n, (low, _) in rows])
    views = []
    for tap in _taps(g):
        starts = [t * d for t, (_, _, d) in zip(tap, sides, strict=True)]
        ends = [start + (m - 1) * s + 1 for start, (m, s, _) in zip(starts, sides, strict=True)]
        view = lax.slice(x, (0, *starts, 0), (len(x), *ends, x.shape[-1]), (1, *g.strides, 1))
        views.append(view.reshape(len(x) * math.prod(g.output_size), -1))
    return jnp.stack(views)
