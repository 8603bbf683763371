"""Variables of networks, drawn on the host: compiling an initializer takes longer."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def shapes_of(model: nn.Module, *inputs: Any) -> tuple[Any, Any]:
    """Of the output and of all variables, computing nothing."""
    return jax.eval_shape(functools.partial(model.init_with_output, jax.random.key(0)), *inputs)


def drawn(model: nn.Module, *inputs: Any, seed: int = 0) -> Any:
    """Variables none of which is zero, except for means."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("mean", "var", "scale"):
            return jnp.full(leaf.shape, float(name != "mean"))
        value = random.normal(size=leaf.shape)
        if name == "kernel":
            value /= np.sqrt(np.prod(leaf.shape[:-1]))
        if name == "u":
            value /= np.linalg.norm(value)
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes_of(model, *inputs)[1])
