"""WaveNet (van den Oord et al. 2016, "WaveNet: A Generative Model for Raw Audio").

    z = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h)                        (equations 2 and 3)

A stack of causal convolutions of two taps, each twice as far apart as those of the layer below, so
that what a sample sees grows exponentially with depth (section 2.1). Sampling keeps each layer's
past inputs in a queue: a sample then costs a product or two a layer (Le Paine et al. 2016).
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.autoregressive.network import Draw, Tree, embedded
from gen_jax.densities import Categorical, MuLaw, Sequential
from gen_jax.nn.causal import gate
from gen_jax.nn.condition import Condition, ConditionEmbedding
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import cast_params, last_dtype
from gen_jax.typing import Array, Params, PRNGKeys


class WaveNet(nn.Module):
    """``stacks`` times ``layers`` gated layers, dilated by 1, 2, 4, ... in each stack.

    Each adds a 1×1 skip to ``skip_features`` channels, which the head reads: ReLU, 1×1, ReLU, 1×1.
    A sample must be one unit: several channels need a joint likelihood, such as
    ``LogisticMixture``. Conditions are global (label, vector) or local (``spatial``, [B, T, C]);
    ``condition`` encodes a local one (``network.Network``).
    """

    likelihood: Sequential = Categorical(256, MuLaw())
    stacks: int = 2
    layers: int = 10
    features: int = 32
    skip_features: int = 64
    first_kernel: int = 2
    n_classes: int | None = None
    condition: nn.Module | None = None
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.embedding = ConditionEmbedding(
            self.features, self.n_classes, 3, encoder=self.condition, dtype=self.dtype
        )

    @property
    def dilations(self) -> tuple[int, ...]:
        """How far apart the two taps of each layer are."""
        return tuple(2**i for i in range(self.layers)) * self.stacks

    @property
    def receptive_field(self) -> int:
        """How many samples before it a sample depends on."""
        return self.first_kernel + sum(self.dilations)

    def embed(self, cond: Condition) -> Float[Array, "batch time features"]:
        return self.embedding(cond)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time channels"],
        cond: Condition | Array | None = None,
        dropout: PRNGKeys | None = None,
    ) -> Float[Array, "batch time units n_outputs"]:
        del dropout  # there is none
        f, s, k, channels = self.features, self.skip_features, self.first_kernel, x.shape[-1]
        if self.likelihood.units(channels) != 1:
            raise ValueError(
                f"WaveNet draws a sample as one unit; {channels} channels need a joint "
                "likelihood, such as LogisticMixture"
            )
        cond_features = embedded(self, cond, x.shape)
        h = self._conv("first", f, k, (k, -1))(2.0 * x - 1.0)
        skip = 0.0
        for i, dilation in enumerate(self.dilations):
            gates = self._conv(f"dilated_{i}", 2 * f, 2, (dilation, 0), dilation)(h)
            if cond_features is not None:
                here = nn.Dense(2 * f, use_bias=False, dtype=self.dtype, name=f"condition_{i}")
                gates = gates + jnp.broadcast_to(here(cond_features), gates.shape)
            out = self._conv(f"out_{i}", self._passed(i) + s)(gate(gates))
            skip = skip + out[..., :s]
            h = h + out[..., s:] if self._passed(i) else h
        n_outputs, dtype = self.likelihood.unit_outputs(channels), last_dtype(self.dtype)
        hidden = Conv(s, (1,), dtype=dtype, name="head")(nn.relu(skip))
        outputs = Conv(n_outputs, (1,), dtype=dtype, name="outputs")(nn.relu(hidden))
        return outputs[:, :, None].astype(jnp.float32)

    @nn.nowrap
    def _passed(self, layer: int) -> int:
        """Features that a layer passes on: the last has none above it."""
        return self.features if layer + 1 < len(self.dilations) else 0

    @nn.nowrap
    def _conv(self, name: str, features: int, taps: int = 1, padding=(0, 0), dilation: int = 1):
        return Conv(
            features, (taps,), padding=(padding,), dilation=dilation, dtype=self.dtype, name=name
        )

    # Sample by sample. The sound is one row; what a layer read is kept until it has been read
    # again, in a queue of its dilation's length. All queues are rings in one array: a
    # layer's place for this sample holds the input of one dilation ago, and is then overwritten.

    @nn.nowrap
    def weights(self, params: Params) -> Tree:
        p = cast_params(params, self.dtype, last=("head", "outputs"))
        layers = range(len(self.dilations))
        kernels = [p[f"dilated_{i}"]["kernel"] for i in layers]
        cond_kernels = [p[f"condition_{i}"]["kernel"] for i in layers if f"condition_{i}" in p]
        return {
            "first": p["first"],
            "past": jnp.stack([kernel[0] for kernel in kernels]),
            "here": [kernel[1] for kernel in kernels],
            "bias": jnp.stack([p[f"dilated_{i}"]["bias"] for i in layers]),
            "condition": jnp.stack(cond_kernels) if cond_kernels else None,
            "out": [p[f"out_{i}"] for i in layers],
            "head": p["head"],
            "outputs": p["outputs"],
        }

    @nn.nowrap
    def start(self, weights: Tree, batch_size: int, width: int) -> Tree:
        del width
        taps, channels, _ = weights["first"]["kernel"].shape
        samples = jnp.zeros((batch_size, taps, channels), self.dtype)
        queues = jnp.zeros((sum(self.dilations), batch_size, self.features), self.dtype)
        return samples, queues  # zero is what the convolutions are padded with

    @nn.nowrap
    def row(
        self, weights: Tree, rows: Tree, i: Array, cond: Float[Array, "batch time c"] | None
    ) -> tuple[Tree, Tree, Tree]:
        del i
        bias, contexts = weights["bias"][:, None], None  # [layers, 1 or B, 2f]
        if cond is not None and cond.shape[1] == 1:
            bias = bias + self._cond_bias(weights, cond[:, 0])
        elif cond is not None:
            contexts = cond.swapaxes(0, 1)
        return rows, contexts, (*rows, bias)

    @nn.nowrap
    def _cond_bias(self, weights: Tree, cond: Float[Array, "batch c"]) -> Array:
        return jnp.einsum("bc,lcd->lbd", cond.astype(self.dtype), weights["condition"])

    @nn.nowrap
    def pixel(
        self, weights: Tree, left: Tree, context: Tree, j: Array, draw: Draw
    ) -> tuple[Tree, Tree, Array]:
        w, s, (samples, queues, bias) = weights, self.skip_features, left
        dilations = np.array(self.dilations)
        places = jnp.asarray(np.cumsum(dilations) - dilations) + j % jnp.asarray(dilations)
        gates = bias + jnp.einsum("lbc,lcd->lbd", queues[places], w["past"])
        if context is not None:
            gates = gates + self._cond_bias(w, context)
        h = _product(samples.reshape(samples.shape[0], -1), w["first"])
        inputs, skip = [], 0.0
        for i in range(len(dilations)):
            inputs.append(h)
            out = _product(gate(gates[i] + h @ w["here"][i]), w["out"][i])
            skip = skip + out[:, :s]
            h = h + out[:, s:] if self._passed(i) else h
        queues = queues.at[places].set(jnp.stack(inputs))
        hidden = nn.relu(_product(nn.relu(skip), w["head"]))
        value = draw(0, _product(hidden, w["outputs"]).astype(jnp.float32))
        x = (2.0 * self.likelihood.as_input(value) - 1.0).astype(self.dtype)
        samples = jnp.concatenate([samples[:, 1:], x[:, None]], axis=1)
        return (samples, queues, bias), None, value

    @nn.nowrap
    def end_row(self, weights: Tree, rows: Tree, left: Tree, traces: Tree, values: Array) -> Tree:
        del weights, left, traces, values
        return rows  # there is no second row


def _product(x: Float[Array, "batch c_in"], layer: Tree) -> Float[Array, "batch c_out"]:
    """What a convolution makes of the inputs under its taps."""
    kernel = layer["kernel"]
    return x.astype(kernel.dtype) @ kernel.reshape(-1, kernel.shape[-1]) + layer["bias"][None]
