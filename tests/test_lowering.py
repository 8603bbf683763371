"""Every public step and sampler lowers for CPU, GPU and TPU, whichever of them is here."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import export

from gen_jax import latent
from gen_jax.classical import kmeans, pca
from gen_jax.densities import Bernoulli, Categorical, Gaussian
from gen_jax.latent import autoencoder

PLATFORMS = ("cpu", "cuda", "tpu")
SHAPE = (8, 8, 1)
IMAGES = jnp.zeros((4, *SHAPE), jnp.uint8)
DENSE = (latent.DenseEncoder((8,)), latent.DenseDecoder((8,)))
CONVOLUTIONAL = (latent.ConvEncoder((4, 8)), latent.ConvDecoder((8, 4)))


def lower(function, *args) -> None:
    """Lowers for all platforms at once; JAX raises where an operation has no form for one."""
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*args)
    assert exported.platforms == PLATFORMS
    assert exported.mlir_module()


def vae_state(networks, likelihood, dtype=jnp.float32):
    encoder, decoder = (network.clone(dtype=dtype) for network in networks)
    model = latent.VAE(SHAPE, 2, encoder, decoder, likelihood)
    return latent.init(model, optax.adam(1e-3), jax.random.key(0), IMAGES, ema_decay=0.9)


@pytest.mark.parametrize("k", [None, 3], ids=["elbo", "iwae"])
@pytest.mark.parametrize("networks", [DENSE, CONVOLUTIONAL], ids=["dense", "convolutional"])
def test_vae_steps_lower(networks, k):
    state = vae_state(networks, Bernoulli())
    lower(functools.partial(latent.train_step, k=k), state, {"image": IMAGES})
    lower(latent.eval_step, state, {"image": IMAGES})


@pytest.mark.parametrize("likelihood", [Gaussian(), Categorical()], ids=["gaussian", "categorical"])
def test_vae_lowers_in_half_precision_with_each_likelihood(likelihood):
    state = vae_state(CONVOLUTIONAL, likelihood, jnp.bfloat16)
    lower(latent.train_step, state, {"image": IMAGES})


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Categorical()])
def test_vae_queries_lower(likelihood):
    state = vae_state(DENSE, likelihood)
    model, params = state.model, state.params
    key = jax.random.key(1)
    lower(functools.partial(latent.sample, model, n=3, mean=False), params, key)
    lower(functools.partial(latent.encode, model), params, IMAGES)
    lower(functools.partial(latent.manifold, model, size=3), params)
    x = latent.observe(model, jax.random.key(2), IMAGES)
    lower(functools.partial(latent.posterior_grid, model, size=4), params, x)
    lower(functools.partial(latent.log_weights, model), params, jax.random.split(key, 2), x)


@pytest.mark.parametrize("networks", [DENSE, CONVOLUTIONAL], ids=["dense", "convolutional"])
def test_autoencoder_steps_lower(networks):
    model = latent.Autoencoder(SHAPE, 3, *networks)
    state = autoencoder.init(model, optax.adam(1e-3), jax.random.key(0), IMAGES)
    lower(autoencoder.train_step, state, {"image": IMAGES})
    lower(autoencoder.eval_step, state, {"image": IMAGES})


def test_classical_models_lower():
    x = jax.random.normal(jax.random.key(0), (20, 6))
    lower(functools.partial(kmeans.fit, k=3, restarts=2), jax.random.key(1), x)
    lower(kmeans.predict, x[:3], x)
    lower(functools.partial(pca.fit, n_components=2), x)
    lower(lambda key, x: pca.fit_randomized(key, x, 2), jax.random.key(2), x)
