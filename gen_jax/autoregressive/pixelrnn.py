"""PixelRNN: Row LSTM and Diagonal BiLSTM (van den Oord et al. 2016, "Pixel Recurrent Neural
Networks", section 3).

    [o, f, i, g] = K_ss ⊛ h_{t-1} + K_is ⊛ x_t
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g),    h_t = σ(o) ⊙ tanh(c_t)                (equation 3)

A 7×7 convolution under mask A to 2h maps, ``layers`` convolutional LSTMs (``gen_jax.nn.recurrent``)
of h features, each taken back to 2h maps and added to its input (section 3.3), then two 1×1
convolutions and the outputs, under mask B (table 1). The paper reports 79.20 nats on binarized
MNIST with the Diagonal BiLSTM, 7 layers of h = 16, and 3.00 bits/dim with it on CIFAR-10, where the
Row LSTM has 3.07.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.autoregressive.network import Draw, Tree, embedded
from gen_jax.densities import Bernoulli, Sequential
from gen_jax.meshes import vary_like
from gen_jax.nn.causal import (
    PixelProduct,
    causal_mask,
    check_kernel,
    conv_row,
    group_bounds,
    group_mask,
    group_order,
)
from gen_jax.nn.condition import Condition, ConditionEmbedding
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import cast_params, last_dtype
from gen_jax.nn.recurrent import DiagonalLSTMLayer, RowLSTMLayer, lstm, moved
from gen_jax.typing import Array, Params, PRNGKeys

HEAD = ("head_0", "head_1")


class _PixelRNN(nn.Module):
    """What the two networks have in common: all but their layers of LSTMs.

    These are left to the methods that raise ``NotImplementedError``: ``_layer``, and its part of
    the sampler's steps.
    """

    likelihood: Sequential = Bernoulli()
    layers: int = 7
    features: int = 16
    head_features: int = 32
    first_kernel: int = 7
    n_classes: int | None = None
    condition: nn.Module | None = None
    dtype: DTypeLike = jnp.float32

    def setup(self):
        check_kernel("first_kernel", self.first_kernel)
        if self.layers < 1:
            raise ValueError(f"layers must be 1 or more, got {self.layers}")
        self.embedding = ConditionEmbedding(
            self.features, self.n_classes, encoder=self.condition, dtype=self.dtype
        )

    def embed(self, cond: Condition) -> Float[Array, "batch height width features"]:
        return self.embedding(cond)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        cond: Condition | Array | None = None,
        dropout: PRNGKeys | None = None,
    ) -> Float[Array, "batch height width units n_outputs"]:
        del dropout  # there is none
        groups, reach = self.likelihood.units(x.shape[-1]), self.first_kernel // 2
        n_outputs = groups * self.likelihood.unit_outputs(x.shape[-1])
        cond_features = embedded(self, cond, x.shape)
        if cond_features is not None:
            cond_features = cond_features.swapaxes(0, 1)  # [H, B, W, c]
        # The kernel's rows below the middle, all masked, are left out.
        size, padding = (reach + 1, 2 * reach + 1), ((reach, 0), (reach, reach))
        maps, mask = 2 * self.features, causal_mask("A", groups, here=-1 - reach)
        first = Conv(maps, size, padding=padding, mask=mask, dtype=self.dtype, name="first")
        stream = first(2.0 * x - 1.0)  # so that no pixel looks like the padding
        stream = stream.swapaxes(0, 1)  # [H, B, W, 2h]
        for i in range(self.layers):
            states = self._layer(groups, f"lstm_{i}")(stream, cond_features)
            stream = stream + self._conv(f"out_{i}", maps, groups)(states)
        hidden = nn.relu(stream.swapaxes(0, 1))
        head = {"mask": causal_mask("B", groups, here=-1), "dtype": last_dtype(self.dtype)}
        for name in HEAD:
            hidden = nn.relu(Conv(self.head_features, (1, 1), **head, name=name)(hidden))
        outputs = Conv(n_outputs, (1, 1), **head, name="outputs")(hidden)
        return outputs.reshape(*x.shape[:3], groups, -1).astype(jnp.float32)

    @nn.nowrap
    def _conv(self, name: str, features: int, groups: int):
        mask = causal_mask("B", groups, here=-1)
        return Conv(features, (1, 1), mask=mask, dtype=self.dtype, name=name)

    # Row by row and pixel by pixel. What the row above adds to the gates is computed once per row,
    # for all pixels; what the left neighbour adds once per pixel; both for all layers at once.
    # A row of the LSTMs' memory is [width, layers, batch, features].

    @nn.nowrap
    def weights(self, params: Params) -> Tree:
        p = cast_params(params, self.dtype, last=(*HEAD, "outputs"))
        kernel, reach = p["first"]["kernel"], self.first_kernel // 2
        groups = self.likelihood.units(kernel.shape[2])

        def cut(name: str) -> PixelProduct:
            return PixelProduct.cut("B", p[name]["kernel"][0, 0], p[name]["bias"], groups)

        layers = [p[f"lstm_{i}"] for i in range(self.layers)]
        return {
            "first_above": kernel[:-1],
            "first_left": kernel[-1, :reach].reshape(-1, kernel.shape[-1]),
            "first": PixelProduct.cut("A", kernel[-1, reach], p["first"]["bias"], groups),
            **self._cut(jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers), groups),
            "out": [cut(f"out_{i}") for i in range(self.layers)],
            "head": [cut(name) for name in HEAD],
            "outputs": cut("outputs"),
        }

    @nn.nowrap
    def start(self, weights: Tree, batch_size: int, width: int) -> Tree:
        rows, _, channels, _ = weights["first_above"].shape
        shape = (width, self.layers, batch_size, self.features)
        states = [jnp.broadcast_to(x[None, :, None], shape) for x in weights["above_start"]]
        return jnp.zeros((batch_size, rows, width, channels), self.dtype), states

    @nn.nowrap
    def row(
        self, weights: Tree, rows: Tree, i: Array, cond: Float[Array, "batch width c"] | None
    ) -> tuple[Tree, Tree, Tree]:
        del i
        pixels, states = rows
        first = conv_row(pixels, weights["first_above"]).swapaxes(0, 1)
        cond_bias = None
        if cond is not None:
            cond_bias = jnp.einsum("bwc,lcd->wlbd", cond.astype(self.dtype), weights["condition"])
        kept, context, left = self._row(weights, states, cond_bias)
        return (pixels, kept), (first, context), (jnp.zeros_like(pixels[:, :, 0]), left)

    @nn.nowrap
    def pixel(
        self, weights: Tree, left: Tree, context: Tree, j: Array, draw: Draw
    ) -> tuple[Tree, Tree, Array]:
        del j
        w, (pixels, memory), (first, context) = weights, left, context
        batch_size, _, channels = pixels.shape
        first = first + pixels.reshape(batch_size, -1) @ w["first_left"]
        gates, cells, right = self._known(w, memory, context)
        groups = self.likelihood.units(channels)
        bounds, maps = (group_bounds(n * self.features, groups) for n in (1, 2))
        values, inputs = [], []  # of each group, as are the lists that follow, for each layer
        streams, hs, cs, sums = ([[] for _ in range(self.layers)] for _ in range(4))
        hidden: list[list[Array]] = [[] for _ in range(len(HEAD) + 1)]
        for g in range(groups):
            start, end = bounds[g : g + 2]
            stream = first[:, maps[g] : maps[g + 1]] + w["first"](inputs, g)
            for layer in range(self.layers):
                streams[layer].append(stream)
                here = w["here"][layer](streams[layer], g)
                h, c = lstm(gates[layer, :, 4 * start : 4 * end] + here, cells[layer, :, start:end])
                hs[layer].append(h)
                cs[layer].append(c)
                sums[layer].append(h if right is None else h + right[layer, :, start:end])
                stream = stream + w["out"][layer](sums[layer], g)
            hidden[0].append(nn.relu(stream))
            for n, head in enumerate(w["head"]):
                hidden[n + 1].append(nn.relu(head(hidden[n], g)))
            values.append(draw(g, w["outputs"](hidden[-1], g).astype(jnp.float32)))
            inputs.append(self._read(values[-1]))
        here = jnp.concatenate(inputs, axis=-1)
        pixels = jnp.concatenate([pixels, here[:, None]], axis=1)[:, 1:]
        drawn = (jnp.stack([jnp.concatenate(x, -1) for x in parts]) for parts in (streams, hs, cs))
        memory, trace = self._remember(*drawn)
        return (pixels, memory), trace, jnp.concatenate(values, axis=-1)

    @nn.nowrap
    def end_row(self, weights: Tree, rows: Tree, left: Tree, traces: Tree, values: Array) -> Tree:
        del left
        pixels, kept = rows
        new = self._read(values).swapaxes(0, 1)[:, None]  # [B, 1, W, C]
        pixels = jnp.concatenate([pixels, new], axis=1)[:, 1:]
        return pixels, self._end_row(weights, kept, traces)

    @nn.nowrap
    def _read(self, value: Array) -> Array:
        return (2.0 * self.likelihood.as_input(value) - 1.0).astype(self.dtype)

    # What a kind of LSTM adds to this. The gates of what is drawn stand group by group.

    @nn.nowrap
    def _layer(self, groups: int, name: str) -> nn.Module:
        raise NotImplementedError  # a kind of LSTM's

    @nn.nowrap
    def _cut(self, p: Params, groups: int) -> dict[str, Tree]:
        """The layers' weights, from their parameters, stacked."""
        raise NotImplementedError  # a kind of LSTM's

    @nn.nowrap
    def _row(
        self, w: Tree, states: list[Array], cond_bias: Array | None
    ) -> tuple[Tree, Tree, Tree]:
        """What the row keeps, each pixel's context, and the memory left of the first.

        ``cond_bias`` [width or 1, layers, batch, gates] is what the condition adds to the gates.
        """
        raise NotImplementedError  # a kind of LSTM's

    @nn.nowrap
    def _known(self, w: Tree, left: Tree, context: Tree) -> tuple[Array, Array, Array | None]:
        """At a pixel, [layers, batch, ...]: the gates' sums without the pixel itself, the cells
        before, and the states from the right."""
        raise NotImplementedError  # a kind of LSTM's

    @nn.nowrap
    def _remember(self, streams: Array, h: Array, c: Array) -> tuple[Tree, Tree]:
        """The memory left of the next pixel and the trace, from what each layer read and found."""
        raise NotImplementedError  # a kind of LSTM's

    @nn.nowrap
    def _end_row(self, w: Tree, kept: Tree, traces: Tree) -> list[Array]:
        """The states of the row just drawn."""
        raise NotImplementedError  # a kind of LSTM's


class RowLSTM(_PixelRNN):
    """``layers`` Row LSTMs of ``features`` states (h), which see a triangle above the pixel.

    The head has two 1×1 layers of ``head_features`` maps (32 for MNIST, 1024 for CIFAR-10). A
    condition adds a bias to the gates of every layer; ``condition`` encodes a spatial one
    (``network.Network``).
    """

    @nn.nowrap
    def _layer(self, groups: int, name: str) -> nn.Module:
        return RowLSTMLayer(self.features, groups, dtype=self.dtype, name=name)

    @nn.nowrap
    def _cut(self, p: Params, groups: int) -> dict[str, Tree]:
        gates = (self.features,) * 4
        order = group_order(gates, groups)
        return {
            "above_start": (p["initial_h"], p["initial_c"]),
            "above": p["state"].reshape(self.layers, -1, len(order))[..., order],
            "left": p["input"][:, 0][..., order],
            "here": _cut_here(p["input"][:, 1], p["bias"], gates, groups),
            "condition": p["condition"][..., order] if "condition" in p else None,
        }

    @nn.nowrap
    def _row(
        self, w: Tree, states: list[Array], cond_bias: Array | None
    ) -> tuple[Tree, Tree, Tree]:
        h, c = states
        outside = w["above_start"][0][None, :, None]
        around = jnp.concatenate([moved(h, outside, 1, 0), h, moved(h, outside, -1, 0)], axis=-1)
        gates = jnp.einsum("wlbc,lcd->wlbd", around, w["above"])
        if cond_bias is not None:
            gates = gates + jnp.broadcast_to(cond_bias, gates.shape)
        left = jnp.zeros((*h.shape[1:3], 2 * self.features), self.dtype)  # as the input is padded
        return None, (gates, c), left

    @nn.nowrap
    def _known(self, w: Tree, left: Tree, context: Tree) -> tuple[Array, Array, Array | None]:
        gates, cells = context
        return gates + jnp.einsum("lbc,lcd->lbd", left, w["left"]), cells, None

    @nn.nowrap
    def _remember(self, streams: Array, h: Array, c: Array) -> tuple[Tree, Tree]:
        return streams, [h, c]

    @nn.nowrap
    def _end_row(self, w: Tree, kept: Tree, traces: Tree) -> list[Array]:
        del w, kept
        return traces


class DiagonalBiLSTM(_PixelRNN):
    """``layers`` Diagonal BiLSTMs of ``features`` states (h) from each side, which see all of the
    image before the pixel, but for one: the last of the row above. Under mask A that pixel is in
    nothing that its own row computes, and the first kernel alone shows it to columns nearby.

    The head and conditions are those of ``RowLSTM``. When a row is drawn, its states from the
    right are computed, from right to left; the row below reads them.
    """

    @nn.nowrap
    def _layer(self, groups: int, name: str) -> nn.Module:
        return DiagonalLSTMLayer(self.features, groups, dtype=self.dtype, name=name)

    @nn.nowrap
    def _cut(self, p: Params, groups: int) -> dict[str, Tree]:
        gates = (self.features,) * 4
        order = group_order(gates, groups)  # from the right all groups come at once: no order
        left, right = ({name: x[:, side] for name, x in p.items()} for side in range(2))
        mask = group_mask("B", 2 * self.features, gates, groups).astype(self.dtype)
        cond_kernel = None
        if "condition" in p:
            cond_kernel = jnp.concatenate(
                [left["condition"][..., order], right["condition"]], axis=-1
            )
        return {
            "above_start": (left["initial_h"], right["initial_h"]),
            "left_start": (left["initial_h"], left["initial_c"]),
            "left": left["state"][:, 0][..., order],
            "above": left["state"][:, 1][..., order],
            "here": _cut_here(left["input"], left["bias"], gates, groups),
            "right_start": (right["initial_h"], right["initial_c"]),
            "right_beside": right["state"][:, 0],
            "right_above": right["state"][:, 1],
            "right_here": right["input"] * mask[None],
            "right_bias": right["bias"],
            "condition": cond_kernel,
        }

    @nn.nowrap
    def _row(
        self, w: Tree, states: list[Array], cond_bias: Array | None
    ) -> tuple[Tree, Tree, Tree]:
        left, right = states
        gates = jnp.einsum("wlbc,lcd->wlbd", left, w["above"])
        right_gates = jnp.einsum("wlbc,lcd->wlbd", right, w["right_above"])
        right_gates = right_gates + w["right_bias"][None, :, None]
        if cond_bias is not None:
            cond_bias = jnp.broadcast_to(cond_bias, (len(left), *cond_bias.shape[1:]))
            left_bias, right_bias = jnp.split(cond_bias, 2, axis=-1)
            gates, right_gates = gates + left_bias, right_gates + right_bias
        return right_gates, (gates, right), self._side(w["left_start"], left)

    @nn.nowrap
    def _side(self, initial: tuple[Array, Array], states: Array) -> tuple[Array, Array]:
        """The initial h and c [layers, batch, features] next to a row of states."""
        h, c = (jnp.broadcast_to(x[:, None], states.shape[1:]) for x in initial)
        return h, c

    @nn.nowrap
    def _known(self, w: Tree, left: Tree, context: Tree) -> tuple[Array, Array, Array | None]:
        (h, c), (gates, right) = left, context
        return gates + jnp.einsum("lbc,lcd->lbd", h, w["left"]), c, right

    @nn.nowrap
    def _remember(self, streams: Array, h: Array, c: Array) -> tuple[Tree, Tree]:
        return (h, c), (streams, h)

    @nn.nowrap
    def _end_row(self, w: Tree, kept: Tree, traces: Tree) -> list[Array]:
        streams, left = traces
        gates = kept + jnp.einsum("wlbc,lcd->wlbd", streams, w["right_here"])

        def step(state: tuple[Array, Array], gates: Array):
            h, c = state
            h, c = lstm(gates + jnp.einsum("lbc,lcd->lbd", h, w["right_beside"]), c)
            return (h, c), h

        start = vary_like(self._side(w["right_start"], left), gates)
        return [left, lax.scan(step, start, gates, reverse=True)[1]]


def _cut_here(
    kernels: Array, biases: Array, gates: tuple[int, ...], groups: int
) -> list[PixelProduct]:
    """What a pixel adds to its own gates, for each layer."""
    pairs = zip(kernels, biases, strict=True)
    return [PixelProduct.cut("B", kernel, bias, groups, gates) for kernel, bias in pairs]
