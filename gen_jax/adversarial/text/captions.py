"""Captions in a step: one of each image's, wrong ones, and ones between two.

An image of a batch has K captions. What they say and what is true of images are ``meaning`` and
``attributes``, as in ``gen_jax.meaning``. ``axis_name`` is the axis of ``jax.pmap`` or
``jax.shard_map`` that the batch is spread over: captions come from the *global* batch.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from gen_jax.adversarial.inputs import Vectors
from gen_jax.meaning import wrong
from gen_jax.meshes import gathered
from gen_jax.state import example_numbers
from gen_jax.typing import Array, Batch, PerExample, PRNGKeys


def captions(batch: Batch) -> Float[Array, "batch captions size"]:
    """The captions' vectors of a batch; raises ``ValueError`` where they are not there."""
    found = batch.get("vector")
    if found is None or found.ndim != 3 or not jnp.issubdtype(found.dtype, jnp.floating):
        got = sorted(batch) if found is None else f"{found.dtype} {found.shape}"
        raise ValueError(
            'text to image needs batch["vector"], float vectors [batch, captions, size] of each '
            f"image's captions, got {got}"
        )
    return found


def draw_captions(keys: PRNGKeys, *values: Array) -> tuple[Array, ...]:
    """One caption of each example, drawn uniformly by its key: of each array [B, K, ...] its part
    [B, ...]."""
    count = values[0].shape[1]
    which = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)
    pick = jax.vmap(lambda x, i: lax.dynamic_index_in_dim(x, i, keepdims=False))
    return tuple(pick(x, which) for x in values)


def wrong_captions(
    keys: PRNGKeys,
    vector: Vectors,
    meaning: Int[Array, "batch attributes"],
    attributes: Int[Array, "batch attributes"],
    *,
    axis_name: str | None = None,
) -> tuple[Vectors, PerExample]:
    """A caption for each image that is wrong for it, and 1; its own and 0 where there is none.

    It is drawn uniformly, by the image's key, among the captions of the *global* batch whose
    ``meaning`` is wrong for the image's ``attributes``. ``axis_name`` is the axis of ``jax.pmap``
    or ``jax.shard_map`` that the batch is spread over.
    """
    own = example_numbers(vector, axis_name)
    vectors, meanings = gathered((vector, meaning), axis_name)
    is_wrong = wrong(meanings[None], attributes[:, None])  # [B, N]
    count = is_wrong.sum(-1)
    draw = jax.vmap(lambda key, n: jax.random.randint(key, (), 0, n))
    place = draw(keys, jnp.maximum(count, 1))
    chosen = jnp.argmax(is_wrong.cumsum(-1) > place[:, None], axis=-1)
    found = count > 0
    return vectors[jnp.where(found, chosen, own)], found.astype(jnp.float32)


def between(vector: Vectors, beta: float, *, axis_name: str | None = None) -> Vectors:
    """β times each example's caption and 1 - β times that of the next in the global batch."""
    vectors = gathered(vector, axis_name)
    following = (example_numbers(vector, axis_name) + 1) % len(vectors)
    return beta * vector + (1.0 - beta) * vectors[following]
