"""The variational autoencoder (Kingma & Welling 2013) and its importance-weighted bound.

    log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z))                   (the ELBO, equation 3)
    log p(x) >= E_q[log 1/k sum_i p(x, z_i) / q(z_i|x)]                (IWAE, Burda et al. 2015)

with p(z) = N(0, 1) and q(z|x) a diagonal Gaussian. Burda et al. report 86.76 nats on MNIST
(binarized anew each time an image is used, 50 latents, 2x200 tanh, 5,000 importance samples), and
84.78 when trained by the bound with k = 50.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gen_jax.densities import Bernoulli, Likelihood, gaussian_kl
from gen_jax.latent.networks import DenseDecoder, DenseEncoder
from gen_jax.meshes import evaluation_step, mean_gradients, training_step
from gen_jax.state import TrainState, example_keys, example_numbers, numbers_or_places
from gen_jax.typing import (
    Array,
    Batch,
    Images,
    ImageShape,
    MeanImage,
    Metrics,
    Numbers,
    Params,
    PerExample,
    PRNGKey,
    PRNGKeys,
)

# Smooth, so that the gradient never dies; at +-15 float32 still holds e^15 and its square.
LOG_VARIANCE_BOUND = 15.0

Latents = Float[Array, "batch latent"]


class VAE(nn.Module):
    """A Gaussian q(z|x) over an encoder's features, and p(x|z) over a decoder's outputs."""

    image_shape: ImageShape
    latent_dim: int
    encoder: nn.Module = DenseEncoder()
    decoder: nn.Module = DenseDecoder()
    likelihood: Likelihood = Bernoulli()

    def setup(self):
        self.posterior = nn.Dense(2 * self.latent_dim)

    def encode(self, x: Float[Array, "batch height width channels"]) -> tuple[Latents, Latents]:
        """Mean and log-variance of q(z|x)."""
        mean, log_variance = jnp.split(self.posterior(self.encoder(x)), 2, axis=-1)
        log_variance = LOG_VARIANCE_BOUND * jnp.tanh(log_variance / LOG_VARIANCE_BOUND)
        return mean, log_variance

    def decode(self, z: Latents) -> Float[Array, "batch height width channels n_outputs"]:
        """The likelihood's raw outputs for each pixel and channel."""
        height, width, channels = self.image_shape
        n_outputs = self.likelihood.n_outputs
        outputs = self.decoder(z, shape=(height, width, channels * n_outputs))
        return outputs.reshape(-1, height, width, channels, n_outputs)

    def __call__(self, x):
        return self.decode(self.encode(x)[0])


class Bound(NamedTuple):
    """A lower bound on log p(x) and its terms, in nats per image.

    ``reconstruction`` is E_q[log p(x|z)] and ``kl`` is KL(q(z|x) || p(z)), unweighted.
    """

    value: PerExample
    reconstruction: PerExample
    kl: PerExample


def init(
    model: VAE,
    tx: optax.GradientTransformation,
    key: PRNGKey,
    example: Images,
    *,
    mean_image: MeanImage | None = None,
    ema_decay: float | None = None,
) -> TrainState:
    """Draws the parameters; ``example`` is a batch of images of the size to be modelled.

    ``mean_image`` (floats in [0, 1]) starts the decoder's bias at the data's mean, as Burda et
    al. did. Without it the latents learn what all images share before the bias does, and part of
    the prior is lost to it: on MNIST a corner of a two-dimensional manifold shows inverted digits.

    Raises ``ValueError`` where the example's shape is not ``model.image_shape``.
    """
    if example.shape[1:] != tuple(model.image_shape):
        raise ValueError(
            f"the example's images are {example.shape[1:]}, the model's {model.image_shape}"
        )
    params_key, state_key = jax.random.split(key)
    x = jnp.zeros((1, *model.image_shape), jnp.float32)
    params: Any = model.init(params_key, x)["params"]
    if mean_image is not None:
        bias = model.likelihood.outputs_of_mean(jnp.asarray(mean_image, jnp.float32))
        params["decoder"]["bias"] = bias.reshape(params["decoder"]["bias"].shape)
    return TrainState.create(model=model, tx=tx, params=params, key=state_key, ema_decay=ema_decay)


def observe(model: VAE, key: PRNGKey, image: Images, *, numbers: Numbers | None = None) -> Array:
    """What the likelihood scores, drawn per example: binary pixels, noisy floats, or levels.

    What is drawn for example b depends on the key and ``numbers[b]`` (its place, unless given)
    alone, here and in what follows. Raises ``ValueError`` for images that are not uint8.
    """
    numbers = numbers_or_places(numbers, image)
    return jax.vmap(model.likelihood.observe)(example_keys(key, numbers), image)


def _apply(model: VAE, params: Params, x: Array, method: str) -> Any:
    return model.apply({"params": params}, x, method=method)


def log_likelihood(
    model: VAE, outputs: Float[Array, "k batch_or_1 height width channels n_outputs"], x: Array
) -> Float[Array, "k batch"]:
    """log p(x|z) of observed images [B, H, W, C] under the outputs of k latents each, in nats.

    Latents that all images share have 1 in the place of the batch.
    """
    # One long axis of pixels and channels: XLA's CPU backend makes decoder, density, and sum one
    # kernel, which is many times slower over three axes of which the last has length one.
    x = x.reshape(1, x.shape[0], -1)
    outputs = outputs.reshape(*outputs.shape[:2], x.shape[2], outputs.shape[-1])
    shape = (outputs.shape[0], *x.shape[1:])
    outputs = jnp.broadcast_to(outputs, (*shape, outputs.shape[-1]))
    return model.likelihood.log_prob(outputs, jnp.broadcast_to(x, shape)).sum(-1)


class _Draws(NamedTuple):
    """What k samples of q(z|x) say about a batch."""

    mean: Latents
    log_variance: Latents
    log_weight: Float[Array, "k batch"]  # log p(x, z) / q(z|x)
    log_likelihood: Float[Array, "k batch"]  # log p(x|z)


def _draw(model: VAE, params: Params, keys: PRNGKeys, x: Array, numbers: Numbers) -> _Draws:
    """Samples q(z|x) once for each key; an example's noise depends on the key and its number."""
    mean, log_variance = _apply(model, params, model.likelihood.as_input(x), "encode")
    shape = (len(keys), *mean.shape)
    keys = jax.vmap(example_keys, (0, None))(keys, numbers)
    noise = jax.vmap(jax.vmap(lambda key: jax.random.normal(key, shape[2:])))(keys)
    z = mean[None] + jnp.exp(0.5 * log_variance)[None] * noise
    # An example's latents side by side: so they stay where the batch is spread over devices.
    outputs = _apply(model, params, z.swapaxes(0, 1).reshape(-1, shape[2]), "decode")
    outputs = outputs.reshape(shape[1], shape[0], *outputs.shape[1:]).swapaxes(0, 1)
    log_px = log_likelihood(model, outputs, x)
    # log p(z) - log q(z|x), where the constants and (z - mean)^2 / variance = noise^2 meet.
    log_ratio = 0.5 * (noise**2 + log_variance[None] - z**2).sum(-1)
    return _Draws(mean, log_variance, log_px + log_ratio, log_px)


def _elbo(draws: _Draws, beta: float) -> Bound:
    reconstruction = draws.log_likelihood.mean(0)
    kl = gaussian_kl(draws.mean, draws.log_variance).sum(-1)
    return Bound(reconstruction - beta * kl, reconstruction, kl)


def _iwae_bound(draws: _Draws) -> Bound:
    value = jax.nn.logsumexp(draws.log_weight, axis=0) - math.log(len(draws.log_weight))
    return _elbo(draws, beta=1.0)._replace(value=value)


def elbo(
    model: VAE,
    params: Params,
    key: PRNGKey,
    image: Images,
    *,
    beta: float = 1.0,
    n_samples: int = 1,
    numbers: Numbers | None = None,
) -> Bound:
    """The evidence lower bound with the KL in closed form (section 2.3, estimator B).

    ``beta`` weighs the KL in ``value`` (Higgins et al. 2017); with 1 it bounds log p(x).
    """
    return _elbo(_observe_and_draw(model, params, key, image, n_samples, numbers), beta)


def iwae_bound(
    model: VAE,
    params: Params,
    key: PRNGKey,
    image: Images,
    *,
    k: int,
    numbers: Numbers | None = None,
) -> Bound:
    """The importance-weighted bound from ``k`` samples (Burda et al. 2015, equation 8).

    With k = 1 its expectation is the ELBO's, with the KL sampled; it never falls as k grows.
    """
    return _iwae_bound(_observe_and_draw(model, params, key, image, k, numbers))


def _observe_and_draw(
    model: VAE, params: Params, key: PRNGKey, image: Images, k: int, numbers: Numbers | None
) -> _Draws:
    """Observes images, and samples q(z|x) ``k`` times."""
    observe_key, noise_key = jax.random.split(key)
    numbers = numbers_or_places(numbers, image)
    x = observe(model, observe_key, image, numbers=numbers)
    return _draw(model, params, jax.random.split(noise_key, k), x, numbers)


def log_weights(
    model: VAE, params: Params, keys: PRNGKeys, x: Array, *, numbers: Numbers | None = None
) -> Float[Array, "k batch"]:
    """log p(x, z) / q(z|x) in nats, for one z ~ q(z|x) per key and example.

    ``x`` is what ``observe`` returns. The mean of the exponentials is an unbiased estimate of
    p(x); an example's weight for a key does not depend on the other keys, so many can be taken
    in chunks.
    """
    return _draw(model, params, keys, x, numbers_or_places(numbers, x)).log_weight


@training_step
def train_step(
    state: TrainState,
    batch: Batch,
    *,
    beta: float = 1.0,
    k: int | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update by the ELBO, or with ``k`` by the importance-weighted bound of k samples.

    Reads ``batch["image"]``. Metrics, in nats per image: ``loss`` (the negative bound),
    ``reconstruction`` (E_q[log p(x|z)]), ``kl``. Raises ``ValueError`` for ``beta`` with ``k``.
    """
    if k is not None and beta != 1.0:
        raise ValueError(f"the bound of k samples has no KL to weigh: beta must be 1, got {beta}")
    image, key = batch["image"], state.step_keys("bound")["bound"]
    numbers = example_numbers(image, axis_name)

    def loss(params: Params) -> tuple[Array, Metrics]:
        if k is None:
            bound = elbo(state.model, params, key, image, beta=beta, numbers=numbers)
        else:
            bound = iwae_bound(state.model, params, key, image, k=k, numbers=numbers)
        terms = {"reconstruction": bound.reconstruction.mean(), "kl": bound.kl.mean()}
        return -bound.value.mean(), terms

    grads, value, terms = mean_gradients(loss, state.params, axis_name)
    return state.apply_gradients(grads), {"loss": value, **terms}


@evaluation_step
def eval_step(
    state: TrainState, batch: Batch, *, k: int | None = None, axis_name: str | None = None
) -> Metrics:
    """Each example's ``elbo``, ``reconstruction`` and ``kl``; with ``k`` also ``iwae``. Nats, [B].

    With ``k`` the terms are means over the same k samples. The noise comes from ``state.key`` and
    each example's ``batch["number"]`` (its place in the batch, unless given), and not from the
    step: one key, one binarization.
    """
    image, keys = batch["image"], state.evaluation_keys("observe", "noise")
    numbers = numbers_or_places(batch.get("number"), image, axis_name)
    x = observe(state.model, keys["observe"], image, numbers=numbers)
    noise_keys = jax.random.split(keys["noise"], k or 1)
    draws = _draw(state.model, state.eval_params, noise_keys, x, numbers)
    bound = _elbo(draws, beta=1.0)
    metrics = {"elbo": bound.value, "reconstruction": bound.reconstruction, "kl": bound.kl}
    if k is not None:
        metrics["iwae"] = _iwae_bound(draws).value
    return metrics
