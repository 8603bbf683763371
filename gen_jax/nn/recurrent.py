"""Convolutional LSTM layers over images (van den Oord et al. 2016, section 3).

    [o, f, i, g] = K_ss ⊛ h_{t-1} + K_is ⊛ x_t
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g),    h_t = σ(o) ⊙ tanh(c_t)                (equation 3)

``RowLSTMLayer`` steps from row to row, ``DiagonalLSTMLayer`` from diagonal to diagonal, at once
from the upper left and from the upper right. Outside the image every state is the initial one,
which is learned.

Images lie here as [height, width, batch, channels]: what a scan steps over comes first. A step is
one product of [x; h] with the kernel [K_is; K_ss]. To have K_is ⊛ x of all positions before the
first step, as the paper does, took 1.6 times as long on a CPU (a pass of 7 layers of h = 16 over
28×28): the gates are larger than x.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.meshes import vary_like
from gen_jax.nn.causal import group_mask
from gen_jax.typing import Array

# For the gradient a step's parts are computed again, so that of all steps only x and the states are
# kept: no slower on a CPU, whose time goes into memory.
_checkpoint: Callable[..., Any] = functools.partial(jax.checkpoint, prevent_cse=False)


def lstm(
    gates: Float[Array, "*dims four_h"], cell: Float[Array, "*dims h"]
) -> tuple[Float[Array, "*dims h"], Float[Array, "*dims h"]]:
    """Equation 3: the new h and c, from the sums of the four gates side by side."""
    o, f, i, g = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


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
    x: Float[Array, "height width batch c"],
    kernel: Float[Array, "c_3h four_h"],
    bias: Float[Array, " four_h"],
    initial: tuple[Float[Array, " h"], Float[Array, " h"]],
) -> Float[Array, "height width batch h"]:
    """h of every row, from ``x`` there and from the states of the three columns around in the row
    above. ``kernel`` reads them in this order."""
    shape = (*x.shape[1:3], kernel.shape[-1] // 4)
    start = (jnp.broadcast_to(v.reshape(1, 1, -1), shape) for v in initial)

    @_checkpoint
    def step(state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        known = jnp.concatenate([x, neighbours(h, initial[0])], axis=-1)
        h, c = lstm(known @ kernel + bias.reshape(1, 1, -1), c)
        return (h, c), h

    return lax.scan(step, vary_like(tuple(start), x), x)[1]


def neighbours(
    h: Float[Array, "width *dims h"], outside: Float[Array, "*#dims h"]
) -> Float[Array, "width *dims three_h"]:
    """The states of the left column, of the column and of the right one, side by side."""
    outside = outside.reshape(*(1,) * (h.ndim - outside.ndim), *outside.shape)
    edge = jnp.broadcast_to(outside, (1, *h.shape[1:]))
    left = jnp.concatenate([edge, h[:-1]])
    right = jnp.concatenate([h[1:], edge])
    return jnp.concatenate([left, h, right], axis=-1)


class RowLSTMLayer(nn.Module):
    """Section 3.1: ``features`` states, of the pixel, its left neighbour and the rows above.

    Input-to-state is 3×1 under mask B, so of two taps; state-to-state is 3×1.
    """

    features: int
    groups: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "height width batch c"], cond_features: Array | None = None
    ) -> Float[Array, "height width batch h"]:
        """``cond_features``, where given, broadcasts against ``x`` and adds a bias to the gates."""
        h, c, init = self.features, x.shape[-1], nn.initializers.lecun_normal()
        left, here = self.param("input", init, (2, c, 4 * h))
        kernels = [left, here * group_mask("B", c, (h,) * 4, self.groups)]
        x = jnp.concatenate([jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1], x], axis=-1)
        if cond_features is not None:
            kernels.append(self.param("condition", init, (cond_features.shape[-1], 4 * h)))
            x = _concatenated(x, cond_features)
        kernels += [*self.param("state", init, (3, h, 4 * h))]
        bias = self.param("bias", nn.initializers.zeros, (4 * h,))
        parameters = jnp.concatenate(kernels), bias, _initial_state(self, h)
        return row_lstm(x, *jax.tree.map(lambda p: p.astype(self.dtype), parameters))


# The Diagonal BiLSTM


def skew(x: Float[Array, "height width *rest"]) -> Float[Array, "diagonals height *rest"]:
    """Moves row r right by r; the columns of the result, height + width - 1, come first.

    Pixels that stood on a diagonal stand in a column. The corners are zero.
    """
    height, width, *rest = x.shape
    padded = jnp.pad(x, ((0, 0), (0, height), *((0, 0) for _ in rest)))
    # Cut into rows that are shorter by one, each begins one later than the row above it.
    flat = padded.reshape(-1, *rest)[: height * (height + width - 1)]
    return flat.reshape(height, height + width - 1, *rest).swapaxes(0, 1)


def unskew(x: Float[Array, "diagonals height *rest"]) -> Float[Array, "height width *rest"]:
    """Takes ``skew`` back."""
    diagonals, height, *rest = x.shape
    flat = x.swapaxes(0, 1).reshape(-1, *rest)
    flat = jnp.pad(flat, ((0, height), *((0, 0) for _ in rest)))
    return flat.reshape(height, diagonals + 1, *rest)[:, : diagonals + 1 - height]


def diagonal_lstm(
    x: Float[Array, "diagonals directions height batch c"],
    kernel: Float[Array, "directions c_2h four_h"],
    bias: Float[Array, "directions four_h"],
    initial: tuple[Float[Array, "directions h"], Float[Array, "directions h"]],
) -> Float[Array, "diagonals directions height batch h"]:
    """h of every diagonal, from ``x``, skewed, and from two states of the diagonal before: in its
    own row (there the left neighbour) and in the row above. ``kernel`` reads them in this order.

    Nothing depends on the corners: a row keeps the initial state until it begins, and no row reads
    one that has ended.
    """
    diagonals, directions, height, batch_size, _ = x.shape
    shape = (directions, height, batch_size, kernel.shape[-1] // 4)
    outside = vary_like(
        tuple(jnp.broadcast_to(v[:, None, None], shape) for v in initial),
        x,
    )

    @_checkpoint
    def step(state: tuple[Array, Array], diagonal: tuple[Array, Array]):
        (left, c), (n, x) = state, diagonal
        above = jnp.concatenate([outside[0][:, :1], left[:, :-1]], axis=1)
        known = jnp.concatenate([x, left, above], axis=-1)
        new = lstm(jnp.einsum("drbc,dcf->drbf", known, kernel) + bias[:, None, None], c)
        begun = (jnp.arange(height) <= n).reshape(1, -1, 1, 1)
        h, c = (jnp.where(begun, *pair) for pair in zip(new, outside, strict=True))
        return (h, c), h

    return lax.scan(step, outside, (jnp.arange(diagonals), x))[1]


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
        self, x: Float[Array, "height width batch c"], cond_features: Array | None = None
    ) -> Float[Array, "height width batch h"]:
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
        kernel, bias, initial = jax.tree.map(lambda p: p.astype(self.dtype), parameters)
        skewed = jnp.stack([skew(x), skew(x[:, ::-1])], axis=1)
        states = diagonal_lstm(skewed, kernel, bias, initial)
        left, right = unskew(states[:, 0]), unskew(states[:, 1])[:, ::-1]
        first = jnp.broadcast_to(initial[0][1].reshape(1, 1, 1, -1), (1, *right.shape[1:]))
        return left + jnp.concatenate([first, right[:-1]])
