"""Boundary equilibrium GAN (Berthelot et al. 2017, 1703.10717): the discriminator reconstructs.

With L(v) = |v - D(v)|, the mean absolute error of a pixel, of an autoencoder D (section 3.4):

    L_D = L(x) - k_t L(G(z_D))      for theta_D
    L_G = L(G(z_G))                 for theta_G
    k_{t+1} = k_t + lambda_k (gamma L(x) - L(G(z_G)))        held in [0, 1]
    M = L(x) + |gamma L(x) - L(G(z_G))|                      measures convergence

gamma is the share of generated to real error at equilibrium: small for sharp images, large for
various ones. The paper starts at Adam 1e-4 and halves the rate when M stalls: ``plateau``.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gen_jax.adversarial import gan, measures
from gen_jax.adversarial.gan import GANState
from gen_jax.adversarial.inputs import FloatImages
from gen_jax.adversarial.players import Prior, draw_noise, play
from gen_jax.images import as_symmetric
from gen_jax.meshes import evaluation_step, mean_gradients, training_step
from gen_jax.state import example_keys, example_numbers, named_keys
from gen_jax.typing import Array, Batch, Metrics, Params, PerExample, PRNGKey


@flax.struct.dataclass(kw_only=True)
class BEGANState(GANState):
    """A game's state with ``k``, the weight of generated images in the discriminator's loss."""

    k: Float[Array, ""]


def uniform(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    """The paper's prior: each component from [-1, 1]."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def plateau(
    tx: optax.GradientTransformation, *, patience: int, min_scale: float = 0.01
) -> optax.GradientTransformation:
    """``tx`` with its rate halved whenever M's mean over ``patience`` steps stops falling.

    M is averaged over ``patience`` steps, since its noise from step to step hides its course; each
    average that is not the lowest so far halves the rate, down to ``min_scale`` of it.
    """
    halve = optax.contrib.reduce_on_plateau(
        factor=0.5,
        patience=1,
        rtol=1e-6,  # optax needs one
        accumulation_size=patience,
        min_scale=min_scale,
    )
    return optax.chain(tx, halve)


def init(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: PRNGKey,
    batch: Batch,
    *,
    prior: Prior = uniform,
    ema_decay: float | None = None,
) -> BEGANState:
    """Draws both networks' parameters; k starts at 0, as in the paper. See ``gan.init``."""
    game = gan.init(
        generator,
        discriminator,
        generator_tx,
        discriminator_tx,
        key,
        batch,
        prior=prior,
        ema_decay=ema_decay,
    )
    fields = {field.name: getattr(game, field.name) for field in dataclasses.fields(game)}
    return BEGANState(**fields, k=jnp.zeros((), jnp.float32))


def mean_absolute_error(x: FloatImages, y: FloatImages) -> PerExample:
    """The mean absolute error of an image's pixels, [B]."""
    return jnp.abs(x - y).reshape(x.shape[0], -1).mean(-1)


@training_step
def train_step(
    state: BEGANState,
    batch: Batch,
    *,
    gamma: float = 0.5,
    lambda_k: float = 1e-3,
    axis_name: str | None = None,
) -> tuple[BEGANState, Metrics]:
    """One update of both players at once, and of k.

    Reads ``batch["image"]``. Metrics, means over the batch: ``convergence`` (M), ``k``,
    ``real/error`` and ``generated/error`` (L(x) and L(G(z_G))), both networks' gradient norms
    (``discriminator/gradient``, ``generator/gradient``), and ``diversity`` as in ``measures``.
    Raises ``ValueError`` for ``gamma`` outside [0, 1].
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    x = as_symmetric(batch["image"])
    keys = named_keys(state.key, state.step, "discriminator", "generator")
    numbers = example_numbers(x, axis_name)

    def generate(params: Params, key: PRNGKey) -> tuple[Array, Any]:
        z = draw_noise(state.generator.model, state.prior, example_keys(key, numbers))
        return play(state.generator, params, z, None)

    def reconstruction_error(params: Params, x: Array, model_state: Any) -> tuple[Array, Any]:
        y, model_state = play(state.discriminator, params, x, None, model_state=model_state)
        return mean_absolute_error(x, y).mean(), model_state

    fake, _ = generate(state.generator.params, keys["discriminator"])

    def discriminator_loss(params: Params) -> tuple[Array, tuple[Array, Any]]:
        real_error, model_state = reconstruction_error(params, x, state.discriminator.model_state)
        fake_error, model_state = reconstruction_error(params, fake, model_state)
        return real_error - state.k * fake_error, (real_error, model_state)

    def generator_loss(params: Params) -> tuple[Array, tuple[Array, Any]]:
        made, model_state = generate(params, keys["generator"])
        discriminator = state.discriminator
        error, _ = reconstruction_error(discriminator.params, made, discriminator.model_state)
        return error, (measures.diversity(x, made, axis_name), model_state)

    d_grads, _, (real_error, d_state) = mean_gradients(
        discriminator_loss, state.discriminator.params, axis_name
    )
    g_grads, fake_error, (diversity, g_state) = mean_gradients(
        generator_loss, state.generator.params, axis_name
    )
    balance = gamma * real_error - fake_error
    convergence = real_error + jnp.abs(balance)
    metrics = {
        "convergence": convergence,
        "k": state.k,
        "real/error": real_error,
        "generated/error": fake_error,
        "discriminator/gradient": optax.tree.norm(d_grads),
        "generator/gradient": optax.tree.norm(g_grads),
        "diversity": diversity,
    }
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        generator=state.generator.apply_gradients(g_grads, model_state=g_state, value=convergence),
        discriminator=state.discriminator.apply_gradients(
            d_grads, model_state=d_state, value=convergence
        ),
        k=jnp.clip(state.k + lambda_k * balance, 0.0, 1.0),
    )
    return state, metrics


@evaluation_step
def eval_step(state: BEGANState, batch: Batch) -> Metrics:
    """Each image's ``error`` L(x), [B]."""
    network, x = state.discriminator, as_symmetric(batch["image"])
    y = network.model.apply(network.eval_variables, x, None, train=False)
    return {"error": mean_absolute_error(x, y)}
