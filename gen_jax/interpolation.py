"""Paths between latent codes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gen_jax.typing import Array

Codes = Float[Array, "*batch latent"]
Path = Callable[[Codes, Codes, Float[Array, ""]], Codes]  # start, end, and t in [0, 1]


def linear(start: Codes, end: Codes, t: Float[Array, ""]) -> Codes:
    """The straight path."""
    return (1.0 - t) * start + t * end


def spherical(start: Codes, end: Codes, t: Float[Array, ""]) -> Codes:
    """The path along a great circle (White 2016), on which a Gaussian's norms stay typical.

    Codes that span no plane (parallel, opposite, or zero) are joined by the straight path.
    """
    lengths = jnp.linalg.norm(start, axis=-1) * jnp.linalg.norm(end, axis=-1)
    cosine = (start * end).sum(-1) / jnp.maximum(lengths, 1e-12)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))[..., None]
    straight = (jnp.sin(angle) < 1e-4) | (lengths == 0.0)[..., None]
    sine = jnp.where(straight, 1.0, jnp.sin(angle))
    arc = (jnp.sin((1.0 - t) * angle) * start + jnp.sin(t * angle) * end) / sine
    return jnp.where(straight, linear(start, end, t), arc)


def walk(
    start: Float[Array, "batch latent"],
    end: Float[Array, "batch latent"],
    *,
    size: int,
    path: Path = linear,
) -> Float[Array, "batch size latent"]:
    """``size`` codes at equal steps along ``path``, ``start`` and ``end`` among them."""
    return jax.vmap(lambda t: path(start, end, t), out_axes=1)(jnp.linspace(0.0, 1.0, size))
