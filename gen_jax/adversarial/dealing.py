"""How a step's batch is divided among several updates of the discriminator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from gen_jax.images import as_symmetric
from gen_jax.nn.condition import Condition, batch_condition
from gen_jax.typing import Array, Batch


def dealt(
    batch: Batch, labels: bool, d_steps: int, reuse_images: bool
) -> Callable[[Array | int], tuple[Batch, Condition | None]]:
    """Update i's part of a batch, with its images as floats, and its condition: functions of i.

    Images stay as they are stored until their update: floats are made of m at a time.
    """
    if d_steps < 1:
        raise ValueError(f"d_steps must be 1 or more, got {d_steps}")

    def read(batch: Batch) -> tuple[Batch, Condition | None]:
        made = {**batch, "image": as_symmetric(batch["image"])}
        return made, batch_condition(batch, labels=labels)

    if reuse_images or d_steps == 1:
        all_of_them = read(batch)
        return lambda i: all_of_them
    n = len(batch["image"])
    if n % d_steps:
        raise ValueError(f"a batch of {n} cannot be divided among {d_steps} updates")

    def deal(x: Array) -> Array:
        # Every d-th image: each device's part of a spread batch serves every update.
        return jnp.moveaxis(x.reshape(-1, d_steps, *x.shape[1:]), 1, 0)

    parts = jax.tree.map(deal, dict(batch))

    def part(i: Array | int) -> tuple[Batch, Condition | None]:
        return read(jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), parts))

    return part
