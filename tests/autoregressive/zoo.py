"""Every network at a size that compiles at once, on every kind of output."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.autoregressive import (
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    PixelCNNPlusPlus,
    RowLSTM,
    WaveNet,
)
from gen_jax.densities import Bernoulli, Categorical, LogisticMixture, Sequential
from gen_jax.nn.condition import Condition


@dataclasses.dataclass(frozen=True)
class Output:
    """A likelihood, and how many channels it is tried on."""

    likelihood: Sequential
    channels: int


OUTPUTS = {
    "binary": Output(Bernoulli("threshold"), 1),
    "levels": Output(Categorical(3), 1),
    "colour": Output(Categorical(3), 3),  # one unit for each channel
    "mixture": Output(LogisticMixture(2, levels=5), 3),  # one unit for all
}


def gated(likelihood: Sequential, **fields: Any) -> GatedPixelCNN:
    sizes = {"layers": 3, "features": 7, "skip_features": 5, "first_kernel": 5}
    return GatedPixelCNN(likelihood, **(sizes | fields))


def masked(likelihood: Sequential, **fields: Any) -> PixelCNN:
    sizes = {"layers": 2, "features": 6, "head_features": 7, "first_kernel": 5}
    return PixelCNN(likelihood, **(sizes | fields))


def wavenet(likelihood: Sequential, **fields: Any) -> WaveNet:
    sizes = {"layers": 3, "features": 5, "skip_features": 4, "first_kernel": 3}
    return WaveNet(likelihood, **(sizes | fields))


def plus_plus(likelihood: Sequential, **fields: Any) -> PixelCNNPlusPlus:
    sizes = {"blocks": 1, "stages": 2, "features": 4}
    return PixelCNNPlusPlus(likelihood, **(sizes | fields))


def row_lstm(likelihood: Sequential, **fields: Any) -> RowLSTM:
    sizes = {"layers": 2, "features": 4, "head_features": 5, "first_kernel": 5}
    return RowLSTM(likelihood, **(sizes | fields))


def diagonal_bilstm(likelihood: Sequential, **fields: Any) -> DiagonalBiLSTM:
    sizes = {"layers": 2, "features": 4, "head_features": 5, "first_kernel": 5}
    return DiagonalBiLSTM(likelihood, **(sizes | fields))


NETWORKS: dict[str, Callable[..., Any]] = {
    "gated": gated,
    "masked": masked,
    "plus-plus": plus_plus,
    "wavenet": wavenet,
    "row-lstm": row_lstm,
    "diagonal-bilstm": diagonal_bilstm,
}


def draw_params(
    model: Any, shape: tuple[int, ...], cond: Condition | None = None, *, scale: float = 0.4
) -> Any:
    """Normal parameters, biases too; NumPy draws them, so that no initializer is compiled.

    ``shape`` is an image's, without the batch; ``cond`` is for one example.
    """
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, cond)["params"]
    random = np.random.default_rng(0)
    return jax.tree.map(lambda p: np.asarray(scale * random.normal(size=p.shape), p.dtype), shapes)


def some_data(likelihood: Sequential, shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    """Random stored data that quantizing leaves as it is."""
    random = np.random.default_rng(seed)
    stored = likelihood.to_data(jnp.zeros((1,), jnp.int32)).dtype
    limits = np.iinfo(stored)
    data = random.integers(limits.min, limits.max, shape, stored, endpoint=True)
    return likelihood.to_data(likelihood.quantize(jnp.asarray(data)))
