"""PixelCNN with masked convolutions (van den Oord et al. 2016, "Pixel Recurrent Neural Networks").

    p(x_i | x_<i) = p(x_i,R | x_<i) p(x_i,G | x_<i, x_i,R) p(x_i,B | x_<i, x_i,R, x_i,G)
                                                                                       (equation 2)

One stack of masked convolutions in residual blocks (sections 3.3 to 3.5, table 1, figure 5). Square
masks leave a blind spot: a cone to the upper right that no layer sees, which Gated PixelCNN was
made to remove. Reports 81.30 nats per image on binarized MNIST and 3.14 bits/dim on CIFAR-10.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.autoregressive.network import Draw, Tree, embedded
from gen_jax.densities import Bernoulli, Sequential
from gen_jax.nn.causal import Kind, PixelProduct, causal_mask, check_kernel, conv_row, group_bounds
from gen_jax.nn.condition import Condition, ConditionEmbedding
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import cast_params, last_dtype
from gen_jax.typing import Array, Params, PRNGKeys

HEAD = ("head_0", "head_1")


class PixelCNN(nn.Module):
    """``layers`` residual blocks over 2 ``features`` maps, after a first kernel of mask A.

    A block narrows to ``features`` maps, where it convolves, and widens again, each after a ReLU.
    Two 1×1 layers of ``head_features`` maps read the last (32 for MNIST, 1024 for CIFAR-10). A
    condition adds a bias wherever a kernel is wider than a pixel; ``condition`` encodes a spatial
    one (``network.Network``).
    """

    likelihood: Sequential = Bernoulli()
    layers: int = 7
    features: int = 32
    head_features: int = 32
    kernel: int = 3
    first_kernel: int = 7
    n_classes: int | None = None
    condition: nn.Module | None = None
    dtype: DTypeLike = jnp.float32

    def setup(self):
        for name in ("kernel", "first_kernel"):
            check_kernel(name, getattr(self, name))
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
        f, groups = self.features, self.likelihood.units(x.shape[-1])
        cond_features = embedded(self, cond, x.shape)

        def masked(layer: int, features: int, x: Array) -> Array:
            reach = self._reach(layer)
            kind = "B" if layer else "A"
            found = self._conv(f"masked_{layer}", features, groups, reach, kind)(x)
            if cond_features is None:
                return found
            name = f"condition_{layer}"
            bias = nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)(cond_features)
            return found + jnp.broadcast_to(bias, found.shape)

        stream = masked(0, 2 * f, 2.0 * x - 1.0)  # so that no pixel looks like the padding
        for i in range(1, self.layers + 1):
            narrow = nn.relu(self._conv(f"narrow_{i}", f, groups)(nn.relu(stream)))
            found = nn.relu(masked(i, f, narrow))
            stream = stream + self._conv(f"widen_{i}", 2 * f, groups)(found)
        hidden = nn.relu(stream)
        head = {"mask": causal_mask("B", groups, here=-1), "dtype": last_dtype(self.dtype)}
        for name in HEAD:
            hidden = nn.relu(Conv(self.head_features, (1, 1), **head, name=name)(hidden))
        n_outputs = groups * self.likelihood.unit_outputs(x.shape[-1])
        outputs = Conv(n_outputs, (1, 1), **head, name="outputs")(hidden)
        return outputs.reshape(*x.shape[:3], groups, -1).astype(jnp.float32)

    @nn.nowrap
    def _reach(self, layer: int) -> int:
        return (self.kernel if layer else self.first_kernel) // 2

    @nn.nowrap
    def _conv(self, name: str, features: int, groups: int, reach: int = 0, kind: Kind = "B"):
        """Under a square mask, whose rows below the middle are all zero, and left out."""
        size, padding = (reach + 1, 2 * reach + 1), ((reach, 0), (reach, reach))
        mask = causal_mask(kind, groups, here=-1 - reach)
        return Conv(features, size, padding=padding, mask=mask, dtype=self.dtype, name=name)

    # Row by row and pixel by pixel. What a masked kernel finds in the rows above is computed for
    # all layers and the whole row at once; a pixel adds what lies left of it, and itself.

    @nn.nowrap
    def weights(self, params: Params) -> Tree:
        p = cast_params(params, self.dtype, last=(*HEAD, "outputs"))
        first, blocks = p["masked_0"], [p[f"masked_{i}"] for i in range(1, self.layers + 1)]
        groups = self.likelihood.units(first["kernel"].shape[2])

        def cut(name: str) -> PixelProduct:
            return PixelProduct.cut("B", p[name]["kernel"][0, 0], p[name]["bias"], groups)

        def cut_here(kind: Kind, layer: int) -> PixelProduct:
            kernel, bias = (p[f"masked_{layer}"][part] for part in ("kernel", "bias"))
            return PixelProduct.cut(kind, kernel[-1, self._reach(layer)], bias, groups)

        def left(layer: int) -> Array:
            kernel = p[f"masked_{layer}"]["kernel"]
            return kernel[-1, : self._reach(layer)].reshape(-1, kernel.shape[-1])

        layers = range(1, self.layers + 1)
        cond_kernels = [p[name]["kernel"] for i in (0, *layers) if (name := f"condition_{i}") in p]
        return {
            "above_first": first["kernel"][:-1],
            "above": jnp.stack([block["kernel"][:-1] for block in blocks]),
            "left_first": left(0),
            "left": jnp.stack([left(i) for i in layers]),
            "condition_first": cond_kernels[0] if cond_kernels else None,
            "condition": jnp.stack(cond_kernels[1:]) if cond_kernels else None,
            "first": cut_here("A", 0),
            "narrow": [cut(f"narrow_{i}") for i in layers],
            "here": [cut_here("B", i) for i in layers],
            "widen": [cut(f"widen_{i}") for i in layers],
            "head": [cut(name) for name in HEAD],
            "outputs": cut("outputs"),
        }

    @nn.nowrap
    def start(self, weights: Tree, batch_size: int, width: int) -> Tree:
        channels = weights["above_first"].shape[2]
        pixels = (batch_size, self._reach(0), width, channels)
        narrow = (self.layers, batch_size, self._reach(1), width, self.features)
        return jnp.zeros(pixels, self.dtype), jnp.zeros(narrow, self.dtype)

    @nn.nowrap
    def row(
        self, weights: Tree, rows: Tree, i: Array, cond: Float[Array, "batch width c"] | None
    ) -> tuple[Tree, Tree, Tree]:
        del i
        w, (pixels, narrow) = weights, rows
        first = conv_row(pixels, w["above_first"])  # [B, W, 2f]
        blocks = jax.vmap(conv_row)(narrow, w["above"])  # [L, B, W, f]
        if cond is not None:
            cond = cond.astype(self.dtype)
            first = first + jnp.broadcast_to(cond @ w["condition_first"], first.shape)
            cond_bias = jnp.einsum("bwc,lcd->lbwd", cond, w["condition"])
            blocks = blocks + jnp.broadcast_to(cond_bias, blocks.shape)
        contexts = first.swapaxes(0, 1), jnp.moveaxis(blocks, 2, 0)
        left = jnp.zeros_like(pixels[:, :, 0]), jnp.zeros_like(narrow[:, :, :, 0])
        return rows, contexts, left

    @nn.nowrap
    def pixel(
        self, weights: Tree, left: Tree, context: Tree, j: Array, draw: Draw
    ) -> tuple[Tree, Tree, Array]:
        del j
        w, (pixels, narrow), (first, blocks) = weights, left, context
        layers, batch_size, _, features = narrow.shape
        first = first + pixels.reshape(batch_size, -1) @ w["left_first"]
        flat = narrow.reshape(layers, batch_size, -1)
        blocks = blocks + jnp.einsum("lbc,lcd->lbd", flat, w["left"])
        groups = self.likelihood.units(pixels.shape[-1])
        bounds, wide_bounds = group_bounds(features, groups), group_bounds(2 * features, groups)
        inputs: list[Array] = []  # parts of the pixel, of its features, by group
        streams, narrowed, found = ([[] for _ in range(layers)] for _ in range(3))
        hidden: list[list[Array]] = [[] for _ in range(len(HEAD) + 1)]
        values = []
        for g in range(groups):
            part, wide = slice(*bounds[g : g + 2]), slice(*wide_bounds[g : g + 2])
            stream = first[:, wide] + w["first"](inputs, g)
            for layer in range(layers):
                streams[layer].append(nn.relu(stream))
                narrowed[layer].append(nn.relu(w["narrow"][layer](streams[layer], g)))
                here = w["here"][layer](narrowed[layer], g)
                found[layer].append(nn.relu(blocks[layer, :, part] + here))
                stream = stream + w["widen"][layer](found[layer], g)
            hidden[0].append(nn.relu(stream))
            for n, head in enumerate(w["head"]):
                hidden[n + 1].append(nn.relu(head(hidden[n], g)))
            values.append(draw(g, w["outputs"](hidden[-1], g).astype(jnp.float32)))
            inputs.append(self._read(values[-1]))
        here = jnp.concatenate(inputs, axis=-1)
        trace = jnp.stack([jnp.concatenate(parts, axis=-1) for parts in narrowed])
        pixels = jnp.concatenate([pixels, here[:, None]], axis=1)[:, 1:]
        narrow = jnp.concatenate([narrow, trace[:, :, None]], axis=2)[:, :, 1:]
        return (pixels, narrow), trace, jnp.concatenate(values, axis=-1)

    @nn.nowrap
    def end_row(self, weights: Tree, rows: Tree, left: Tree, traces: Tree, values: Array) -> Tree:
        del weights, left
        pixels, narrow = rows
        new_pixels = self._read(values).swapaxes(0, 1)[:, None]  # [B, 1, W, C]
        new_narrow = jnp.moveaxis(traces, 0, 2)[:, :, None]  # [L, B, 1, W, f]
        pixels = jnp.concatenate([pixels, new_pixels], axis=1)[:, 1:]
        return pixels, jnp.concatenate([narrow, new_narrow], axis=2)[:, :, 1:]

    @nn.nowrap
    def _read(self, value: Array) -> Array:
        return (2.0 * self.likelihood.as_input(value) - 1.0).astype(self.dtype)
