"""In what a network computes its last product: never in less than float32.

A bfloat16 has eight bits, so that a logit of 8 is wrong by up to 0.03: as much as all rounding
before it, and nothing after it takes that back. Of a network in half precision the last product
reads its features as float32, beside parameters that are float32 already, and what follows it is
float32 too. Layers before it are nearly all of the work.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from gen_jax.typing import Params


def last_dtype(dtype: DTypeLike) -> jnp.dtype:
    """What a network of ``dtype`` computes its last product in: float32, or float64 as the rest."""
    return jnp.promote_types(dtype, jnp.float32)


def cast_params(params: Params, dtype: DTypeLike, *, last: str) -> dict[str, Any]:
    """Parameters in ``dtype``, and those of the layer ``last`` in its ``last_dtype``."""

    def cast(name: str, layer: Params) -> Params:
        to = last_dtype(dtype) if name == last else dtype
        return jax.tree.map(lambda leaf: leaf.astype(to), layer)

    return {name: cast(name, layer) for name, layer in params.items()}
