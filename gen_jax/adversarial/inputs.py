"""What networks read: latents, images, and the parts of a condition that they take."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gen_jax.nn.condition import Condition
from gen_jax.typing import Array

Labels = Int[Array, " batch"]
Latents = Float[Array, "batch latent"]
Vectors = Float[Array, "batch size"]
FloatImages = Float[Array, "batch height width channels"]  # in [-1, 1]; what generators make


def generator_input(generator: Any, z: Latents, cond: Condition | None) -> Float[Array, "batch c"]:
    """Latents, concatenated with the one-hot label if any, scaled to a mean square of one as well.

    Raises ``ValueError`` where either is not what the generator takes.
    """
    n_classes = generator.n_classes
    check_latents(z, generator.latent_dim)
    label = read_label("generator", n_classes, cond)
    if label is None:
        return z
    one_hot = jax.nn.one_hot(label, n_classes) * math.sqrt(n_classes)
    return jnp.concatenate([z, one_hot.astype(z.dtype)], axis=-1)


def check_latents(z: Latents, latent_dim: int) -> None:
    """Raises ``ValueError`` unless latents are [batch, latent_dim]."""
    if z.ndim != 2 or z.shape[-1] != latent_dim:
        raise ValueError(f"z must be [batch, {latent_dim}], got {z.shape}")


def read_label(who: str, n_classes: int | None, cond: Condition | None) -> Labels | None:
    """The labels of a network that takes no other condition, and these where it knows classes.

    Raises ``ValueError`` for what it does not take, or lacks.
    """
    cond = _only("label", who, cond, what="labels")
    if n_classes is None and cond.label is not None:
        raise ValueError(f"a {who} without n_classes takes no labels")
    if n_classes is not None and cond.label is None:
        raise ValueError(f"a {who} of {n_classes} classes needs a label for each example")
    return cond.label


def read_text(who: str, cond: Condition | None) -> Vectors:
    """The vectors of a network that takes texts' embeddings, and no other condition.

    Raises ``ValueError`` for what it does not take, or lacks.
    """
    vector = _only("vector", who, cond, what="vectors of texts").vector
    if vector is None:
        raise ValueError(f"this {who} needs a vector for each example: its text's embedding")
    return vector


def _only(part: str, who: str, cond: Condition | None, *, what: str) -> Condition:
    cond = Condition() if cond is None else cond
    for name in ("label", "vector", "spatial", "tokens"):
        if name != part and getattr(cond, name) is not None:
            raise ValueError(f"this {who} takes no {name} condition, only {what}")
    return cond
