"""Convolutional LSTM layers over images (van den Oord et al. 2016, section 3).

    [o, f, i, g] = K_ss ⊛ h_{t-1} + K_is ⊛ x_t
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g),    h_t = σ(o) ⊙ tanh(c_t)                (equation 3)

``RowLSTMLayer`` steps from row to row, ``DiagonalLSTMLayer`` from diagonal to diagonal, at once
from the upper left and from the upper right. Outside the image every state is the initial one,
which is learned.

Images lie here as [height, batch, width, channels]: what a scan steps over comes first. Within a
step channels come first, so that what gates are cut along and joined along is one piece of memory:
with channels last, gradients of a layer took 1.25 times as long on a CPU (h = 16, 28×28). The batch
comes before the width so that the two as one axis are still spread over a mesh's devices.

A step is one product of [x; h] with the kernel [K_is; K_ss]. To have K_is ⊛ x of all positions
before the first step, as the paper does, took 1.6 times as long on a CPU (a pass of 7 layers of
h = 16 over 28×28): the gates are larger than x.

Over several devices ``jax.pmap`` and ``jax.shard_map`` are faster than jit, under which XLA sums a
layer's kernel gradient over the devices within the loop, after each row: on two CPU devices a
training step of 7 layers took 0.6 (Row LSTM) and 0.5 (Diagonal BiLSTM) of the time.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.meshes import vary_like
from gen_jax.nn.causal import group_mask
from gen_jax.typing import Array

# For the gradient x, the states and the gates' sums of all steps are kept, and the rest of a step
# is computed again. Without the sums gradients took 1.1 times as long on a CPU.
_checkpoint: Callable[..., Any] = functools.partial(
    jax.checkpoint, prevent_cse=False, policy=jax.checkpoint_policies.dots_saveable
)


def lstm(
    gates: Float[Array, "*gates"], cell: Float[Array, "*cells"], axis: int = -1
) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """Equation 3: the new h and c, from the sums of the four gates side by side along ``axis``."""
    o, f, i, g = jnp.split(gates, 4, axis)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def moved(x: Array, edge: Array, by: Literal[-1, 1], axis: int) -> Array:
    """``x`` one place further along ``axis`` (1) or back (-1); ``edge``, which broadcasts, comes in
    where a place becomes free."""
    n, shape = x.shape[axis], list(x.shape)
    shape[axis] = 1
    edge = jnp.broadcast_to(edge, shape)
    if by > 0:
        parts = [edge, lax.slice_in_dim(x, 0, n - 1, axis=axis)]
    else:
        parts = [lax.slice_in_dim(x, 1, n, axis=axis), edge]
    return jnp.concatenate(parts, axis)


def _initial_state(module: nn.Module, *shape: int) -> tuple[Array, Array]:
    """The parameters h and c of the state outside the image."""
    h, c = (module.param(f"initial_{name}", nn.initializers.zeros, shape) for name in "hc")
    return h, c


def _concatenated(x: Array, cond_features: Array) -> Array:
    """The input and the condition, which broadcasts against it, along the last axis."""
    cond_features = jnp.broadcast_to(cond_features, (*x.shape[:3], cond_features.shape[-1]))
    return jnp.concatenate([x, cond_features.astype(x.dtype)], axis=-1)


# The Row LSTM


def row_lstm(
    x: Float[Array, "height batch width c"],
    kernel: Float[Array, "left_c_3h four_h"],
    bias: Float[Array, " four_h"],
    initial: tuple[Float[Array, " h"], Float[Array, " h"]],
) -> Float[Array, "height batch width h"]:
    """h of every row, from ``x`` in the left column and here, and from the states of the three
    columns around in the row above. ``kernel`` reads them in this order; of the left column it
    reads the first channels of ``x``, as many as it has rows for."""
    height, *columns, channels = x.shape
    features = kernel.shape[-1] // 4
    n_left = len(kernel) - channels - 3 * features
    outside, nothing = initial[0].reshape(-1, 1, 1), jnp.zeros((1, 1, 1), x.dtype)
    start = (jnp.broadcast_to(v[:, None], (features, math.prod(columns))) for v in initial)

    @_checkpoint
    def step(state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        (h, c), x = state, x.T
        left, above = (v.reshape(-1, *columns) for v in (x[:n_left], h))
        beside = moved(left, nothing, 1, -1), moved(above, outside, 1, -1)
        left, above_left, above_right = (
            v.reshape(-1, x.shape[1]) for v in (*beside, moved(above, outside, -1, -1))
        )
        known = jnp.concatenate([left, x, above_left, h, above_right])
        h, c = lstm(jnp.einsum("cf,cn->fn", kernel, known) + bias[:, None], c, axis=0)
        return (h, c), h.T

    states = lax.scan(step, vary_like(tuple(start), x), x.reshape(height, -1, channels))[1]
    return states.reshape(height, *columns, features)


class RowLSTMLayer(nn.Module):
    """Section 3.1: ``features`` states, of the pixel, its left neighbour and the rows above.

    Input-to-state is 3×1 under mask B, so of two taps; state-to-state is 3×1.
    """

    features: int
    groups: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "height batch width c"], cond_features: Array | None = None
    ) -> Float[Array, "height batch width h"]:
        """``cond_features``, where given, broadcasts against ``x`` and adds a bias to the gates."""
        h, c, init = self.features, x.shape[-1], nn.initializers.lecun_normal()
        left, here = self.param("input", init, (2, c, 4 * h))
        kernels = [left, here * group_mask("B", c, (h,) * 4, self.groups)]
        if cond_features is not None:
            kernels.append(self.param("condition", init, (cond_features.shape[-1], 4 * h)))
            x = _concatenated(x, cond_features)
        kernels += [*self.param("state", init, (3, h, 4 * h))]
        bias = self.param("bias", nn.initializers.zeros, (4 * h,))
        parameters = jnp.concatenate(kernels), bias, _initial_state(self, h)
        return row_lstm(x, *jax.tree.map(lambda p: p.astype(self.dtype), parameters))


# The Diagonal BiLSTM


def skew(x: Float[Array, "height batch width c"]) -> Float[Array, "diagonals batch height c"]:
    """Moves row r right by r; the columns of the result, height + width - 1, come first.

    Pixels that stood on a diagonal stand in a column. The corners are zero.
    """
    height, batch_size, width, c = x.shape
    padded = jnp.pad(x.swapaxes(0, 1), ((0, 0), (0, 0), (0, height), (0, 0)))
    # Cut into rows that are shorter by one, each begins one later than the row above it.
    diagonals = height + width - 1
    flat = padded.reshape(batch_size, -1, c)[:, : height * diagonals]
    return jnp.moveaxis(flat.reshape(batch_size, height, diagonals, c), 2, 0)


def unskew(x: Float[Array, "diagonals batch height c"]) -> Float[Array, "height batch width c"]:
    """Takes ``skew`` back."""
    diagonals, batch_size, height, c = x.shape
    flat = jnp.moveaxis(x, 0, 2).reshape(batch_size, -1, c)
    flat = jnp.pad(flat, ((0, 0), (0, height), (0, 0)))
    rows = flat.reshape(batch_size, height, diagonals + 1, c)
    return rows[:, :, : diagonals + 1 - height].swapaxes(0, 1)


def diagonal_lstm(
    x: Float[Array, "diagonals directions batch height c"],
    kernel: Float[Array, "directions c_2h four_h"],
    bias: Float[Array, "directions four_h"],
    initial: tuple[Float[Array, "directions h"], Float[Array, "directions h"]],
    width: int,
) -> Float[Array, "diagonals directions batch height h"]:
    """h of every diagonal, from ``x``, skewed, and from two states of the diagonal before: in its
    own row (there the left neighbour) and in the row above. ``kernel`` reads them in this order.

    After every ``width`` pixels a row begins anew, with the next image, from the initial state.
    Nothing depends on the corners: no row reads one that has not begun or has ended.
    """
    diagonals, directions, *places, channels = x.shape
    shape = (directions, kernel.shape[-1] // 4, math.prod(places))
    outside = tuple(v[:, :, None] for v in initial)
    start = vary_like(tuple(jnp.broadcast_to(v, shape) for v in outside), x)
    # Of all places beforehand: within the step's loops it took longer than a product.
    column = jnp.arange(diagonals)[:, None, None] - jnp.arange(places[1])[None, None]
    begins = jnp.broadcast_to(column % width == 0, (diagonals, *places)).reshape(diagonals, -1)

    @_checkpoint
    def step(state: tuple[Array, Array], diagonal: tuple[Array, Array]):
        (h, c), (x, begins) = state, diagonal
        rows = h.reshape(*shape[:2], *places)
        above = moved(rows, outside[0][..., None], 1, -1).reshape(shape)
        left, c = (
            jnp.where(begins[None, None], *pair) for pair in zip(outside, state, strict=True)
        )
        known = jnp.concatenate([x.swapaxes(1, 2), left, above], axis=1)
        gates = jnp.einsum("dcf,dcn->dfn", kernel, known) + bias[:, :, None]
        h, c = lstm(gates, c, axis=1)
        return (h, c), h.swapaxes(1, 2)

    x = x.reshape(*x.shape[:2], -1, channels)
    states = lax.scan(step, start, (x, begins))[1]
    return states.reshape(diagonals, directions, *places, -1)


def diagonal_bilstm(
    x: Float[Array, "height batch width c"],
    kernel: Float[Array, "2 c_2h four_h"],
    bias: Float[Array, "2 four_h"],
    initial: tuple[Float[Array, "2 h"], Float[Array, "2 h"]],
    abreast: int = 1,
) -> Float[Array, "height batch width h"]:
    """The sum of h from the left, and of h from the right in the row above.

    ``abreast`` images, which must divide the batch, are one wide image to the steps.
    """
    height, batch_size, width, channels = x.shape
    x = x.reshape(height, batch_size // abreast, abreast * width, channels)
    skewed = jnp.stack([skew(x), skew(x[:, :, ::-1])], axis=1)
    states = diagonal_lstm(skewed, kernel, bias, initial, width)
    left, right = unskew(states[:, 0]), unskew(states[:, 1])[:, :, ::-1]
    first = jnp.broadcast_to(initial[0][1].reshape(1, 1, 1, -1), (1, *right.shape[1:]))
    states = left + jnp.concatenate([first, right[:-1]])
    return states.reshape(height, batch_size, width, -1)


class DiagonalLSTMLayer(nn.Module):
    """Section 3.2: ``features`` states, of the pixel and of all before it.

    The sum of two directions, each with parameters of its own. From the left a state knows the
    pixels to the left and above. From the right, it is that of the row above: it knows the pixels
    above and to the right, and so no pixel that is still to come. Input-to-state is 1×1 under
    mask B in both, state-to-state 2×1.
    """

    features: int
    groups: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "height batch width c"], cond_features: Array | None = None
    ) -> Float[Array, "height batch width h"]:
        """``cond_features``, where given, broadcasts against ``x`` and adds a bias to the gates."""
        h, c, init = self.features, x.shape[-1], nn.initializers.lecun_normal(batch_axis=(0,))
        here = self.param("input", init, (2, c, 4 * h))
        kernels = [here * group_mask("B", c, (h,) * 4, self.groups)[None]]
        if cond_features is not None:
            kernels.append(self.param("condition", init, (2, cond_features.shape[-1], 4 * h)))
            x = _concatenated(x, cond_features)
        state = self.param("state", init, (2, 2, h, 4 * h))  # [direction, (left, above), ...]
        kernels.append(state.reshape(2, -1, 4 * h))
        bias = self.param("bias", nn.initializers.zeros, (2, 4 * h))
        parameters = jnp.concatenate(kernels, axis=1), bias, _initial_state(self, 2, h)
        parameters = jax.tree.map(lambda p: p.astype(self.dtype), parameters)
        # Four images abreast fill most corners: they take height + 4 width - 1 diagonals in all,
        # not 4 (height + width - 1). A CPU then took 0.63 of the time for gradients (28×28, h = 16,
        # batch 16). On an accelerator it is the number of steps that counts.
        wide = functools.partial(diagonal_bilstm, abreast=math.gcd(x.shape[1], 4))
        return lax.platform_dependent(x, *parameters, cpu=wide, default=diagonal_bilstm)
