"""The models' own steps give the same numbers on one device and on four, by jit and by pmap."""

import functools

import jax
import numpy as np
import optax
import pytest

from gen_jax import data, latent, training
from gen_jax.latent import autoencoder

SHAPE = (9, 8, 1)  # odd: nothing divides evenly
IMAGES = np.random.default_rng(0).integers(0, 256, (16, *SHAPE), np.uint8)
NETWORKS = {
    "dense": (latent.DenseEncoder((8,)), latent.DenseDecoder((8,))),
    "convolutional": (latent.ConvEncoder((2, 4)), latent.ConvDecoder((4, 2))),
}


def trained(state, step, how, n_devices, steps):
    mesh = training.make_mesh(jax.devices()[:n_devices])
    compiled = training.compile_step(step, mesh, steps_per_dispatch=steps, how=how)
    batches = data.Batches(data.ArrayDataset("noise", "train", IMAGES), 8, seed=0)
    placed, metrics = compiled(compiled.place(state), compiled.gather(batches, 0, steps), steps)
    return compiled.snapshot(placed)[0].params, metrics


@pytest.mark.parametrize("model", ["vae", "iwae", "autoencoder"])
@pytest.mark.parametrize("network", NETWORKS)
def test_one_device_and_four_agree(network, model):
    tx, key = optax.sgd(1e-3), jax.random.key(0)
    if model == "autoencoder":
        state = autoencoder.init(
            latent.Autoencoder(SHAPE, 3, *NETWORKS[network]), tx, key, IMAGES[:1]
        )
        step = autoencoder.train_step
    else:
        state = latent.init(latent.VAE(SHAPE, 3, *NETWORKS[network]), tx, key, IMAGES[:1])
        step = functools.partial(latent.train_step, k=2 if model == "iwae" else None)
    params, metrics = trained(state, step, "jit", 1, 4)
    assert not np.array_equal(metrics["loss"][0], metrics["loss"][-1])
    for how in ("jit", "pmap"):
        spread, spread_metrics = trained(state, step, how, 4, 4)
        for name, value in metrics.items():
            np.testing.assert_allclose(spread_metrics[name], value, rtol=1e-5, err_msg=name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), spread, params)
