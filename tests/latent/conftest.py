from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import latent
from gen_jax.densities import Bernoulli
from gen_jax.state import TrainState


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


def draw_params(model: nn.Module, scales: dict[str, float]) -> Any:
    """Normal parameters, biases too, of the standard deviation that ``scales`` has for each part;
    NumPy draws them, so that no initializer need be compiled."""
    image = jnp.zeros((1, *model.image_shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    rng = np.random.default_rng(0)

    def normal(part: str) -> Any:
        return jax.tree.map(
            lambda p: jnp.asarray(scales[part] * rng.normal(size=p.shape), p.dtype), shapes[part]
        )

    return {part: normal(part) for part in sorted(shapes)}


@pytest.fixture(scope="session")
def wild_params() -> Callable[..., Any]:
    """Draws a VAE's parameters for which the latent matters and q(z|x) is near the prior, so that
    importance weights have a small variance."""

    def draw(model: latent.VAE) -> Any:
        return draw_params(model, {"decoder": 0.9, "encoder": 0.15, "posterior": 0.15})

    return draw


@pytest.fixture(scope="session")
def start() -> Callable[..., TrainState]:
    """Makes a training state of a VAE or an autoencoder without compiling its ``init``."""

    def make(
        model: nn.Module, tx: optax.GradientTransformation, *, ema_decay: float | None = None
    ) -> TrainState:
        parts = ("encoder", "decoder", "posterior", "code")
        params = draw_params(model, dict.fromkeys(parts, 0.25))
        key = jax.random.key(1)
        return TrainState.create(model=model, tx=tx, params=params, key=key, ema_decay=ema_decay)

    return make
