from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import latent
from gen_jax.distributions import Bernoulli


@pytest.fixture(scope="session")
def all_images() -> jax.Array:
    """Every black and white image of four pixels, uint8 [16, 2, 2, 1]."""
    bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
    return jnp.asarray(255 * bits.reshape(16, 2, 2, 1), jnp.uint8)


@pytest.fixture(scope="session")
def tiny_vae() -> Callable[..., latent.VAE]:
    """Makes a VAE, of four pixels unless told otherwise: the evidence can be had by brute force."""

    def make(**fields: Any) -> latent.VAE:
        defaults = {
            "image_shape": (2, 2, 1),
            "latent_dim": 1,
            "encoder": latent.DenseEncoder((8,)),
            "decoder": latent.DenseDecoder((8,)),
            "likelihood": Bernoulli("threshold"),
        }
        return latent.VAE(**(defaults | fields))

    return make


@pytest.fixture(scope="session")
def wild_params() -> Callable[..., Any]:
    """Draws parameters, biases too, for which the latent matters and q(z|x) is near the prior, so
    that importance weights have a small variance."""

    def draw(model: latent.VAE) -> Any:
        example = jnp.zeros((1, *model.image_shape), jnp.uint8)
        shapes = jax.eval_shape(
            lambda: latent.init(model, optax.identity(), jax.random.key(0), example)
        ).params
        rng = np.random.default_rng(0)

        def normal(scale: float, shapes: Any) -> Any:
            return jax.tree.map(
                lambda p: jnp.asarray(scale * rng.normal(size=p.shape), jnp.float32), shapes
            )

        return {
            name: normal(1.2 if name == "decoder" else 0.15, shapes[name])
            for name in ("decoder", "encoder", "posterior")
        }

    return draw
