"""Every public step and sampler gives the numbers of one device on every kind of mesh.

A new model joins by a row in ``STEPS`` (and in ``EVALUATIONS``, ``SAMPLERS``).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax import adversarial, autoregressive, latent, training
from gen_jax.adversarial import began, gan, losses
from gen_jax.adversarial.began_networks import BEGANDecoder, BEGANDiscriminator
from gen_jax.densities import Categorical, LogisticMixture, MuLaw
from gen_jax.latent import autoencoder

AXIS = "data"
SHAPE = (5, 6, 1)  # small, and of unequal sides
SQUARE = (8, 8, 1)  # where sides must halve
N_STEPS = 5
RANDOM = np.random.default_rng(0)


# The kinds of mesh. Each makes of a function of (replicated, spread) one that runs over n devices:
# ``reduced`` says that its results are the same on all of them, else they are spread as well.


def _placed(compiled, mesh):
    def run(replicated, spread):
        return compiled(
            jax.device_put(replicated, NamedSharding(mesh, PartitionSpec())),
            jax.device_put(spread, NamedSharding(mesh, PartitionSpec(AXIS))),
        )

    return run


def automatic(function, n, *, reduced):
    mesh = training.make_mesh(jax.devices()[:n])
    return _placed(jax.jit(functools.partial(function, axis_name=None)), mesh)


def explicit(function, n, *, reduced):
    mesh = jax.make_mesh((n,), (AXIS,), devices=jax.devices()[:n])
    return _placed(jax.jit(functools.partial(function, axis_name=None)), mesh)


def shard_map(function, n, *, reduced, check_vma):
    mesh = jax.make_mesh((n,), (AXIS,), devices=jax.devices()[:n])
    mapped = jax.shard_map(
        functools.partial(function, axis_name=AXIS),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec() if reduced else PartitionSpec(AXIS),
        check_vma=check_vma,
    )
    return _placed(jax.jit(mapped), mesh)


def pmap(function, n, *, reduced):
    mapped = jax.pmap(
        functools.partial(function, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None if reduced else 0,
        devices=jax.devices()[:n],
    )

    def run(replicated, spread):
        out = mapped(replicated, jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), spread))
        return out if reduced else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)

    return run


MESHES = {
    "automatic": automatic,
    "explicit": explicit,
    "pmap": pmap,
    "shard_map": functools.partial(shard_map, check_vma=True),
    "shard_map-unchecked": functools.partial(shard_map, check_vma=False),
}
over_meshes = pytest.mark.parametrize("mesh", MESHES)
over_devices = pytest.mark.parametrize("n_devices", [1, 4])


# The models


@dataclasses.dataclass(frozen=True)
class Step:
    """A step to be tried: ``start(axis_name)`` makes its state, ``axis_name`` being for batch
    normalization."""

    start: Callable[[str | None], Any]
    step: Callable[..., Any]
    batch: dict[str, np.ndarray]


def images(shape=SHAPE, n=8):
    return RANDOM.integers(0, 256, (n, *shape), np.uint8)


def tx(rate=1e-2):
    return optax.sgd(rate)


def of_vae(encoder, decoder, **options):
    def start(axis_name):
        model = latent.VAE(SHAPE, 3, encoder, decoder)
        return latent.init(model, tx(1e-3), jax.random.key(0), images(n=1))

    step = functools.partial(latent.train_step, **options)
    return Step(start, step, {"image": images()})


def of_autoencoder(encoder, decoder):
    def start(axis_name):
        model = latent.Autoencoder(SHAPE, 3, encoder, decoder)
        return autoencoder.init(model, tx(), jax.random.key(0), images(n=1))

    return Step(start, autoencoder.train_step, {"image": images()})


def of_network(model, **batch):
    def start(axis_name):
        example = next(iter(batch.values()))
        label = {"label": jnp.zeros(8, jnp.int32)} if "label" in batch else {}
        cond = autoregressive.Condition(**label) if label else None
        return autoregressive.init(
            model, tx(1e-3), jax.random.key(0), jnp.asarray(example), cond=cond
        )

    return Step(start, autoregressive.train_step, batch)


def of_gan(generator, discriminator, shape=SHAPE, *, spread=True, classes=None, **options):
    def start(axis_name):
        shared = {"n_classes": classes}
        g, d = (
            make(**shared, **fields, **({} if not spread else {"axis_name": axis_name}))
            for make, fields in (
                (generator, {"image_shape": shape, "latent_dim": 3}),
                (discriminator, {}),
            )
        )
        return gan.init(g, d, tx(), tx(), jax.random.key(0), images(shape, 1), ema_decay=0.9)

    batch = {"image": images(shape), "label": np.arange(8) % 3}
    return Step(start, functools.partial(gan.train_step, **options), batch)


dense = latent.DenseEncoder((8,)), latent.DenseDecoder((8,))
convolutional = latent.ConvEncoder((2, 4)), latent.ConvDecoder((4, 2))


def dense_gan(norm="none", spectral=False, **options):
    return of_gan(
        functools.partial(adversarial.DenseGenerator, (6, 5), norm=norm),
        functools.partial(adversarial.DenseDiscriminator, (6, 5), norm=norm, spectral=spectral),
        **options,
    )


def of_began():
    def start(axis_name):
        networks = (
            BEGANDecoder(2, image_shape=SQUARE, latent_dim=3),
            BEGANDiscriminator(2, latent_dim=3),
        )
        return began.init(*networks, tx(), tx(), jax.random.key(0), images(SQUARE, 1))

    step = functools.partial(began.train_step, lambda_k=0.5)
    return Step(start, step, {"image": images(SQUARE)})


SOUND = RANDOM.integers(-(2**15), 2**15, (8, 9, 1), np.int16)
NETWORKS = {
    "pixelcnn": (autoregressive.PixelCNN(layers=1, features=4, head_features=4), {}),
    "gated-pixelcnn": (
        autoregressive.GatedPixelCNN(
            Categorical(3), layers=2, features=4, skip_features=3, first_kernel=3, n_classes=3
        ),
        {"label": np.arange(8) % 3},
    ),
    "pixelcnn-pp": (
        autoregressive.PixelCNNPlusPlus(
            LogisticMixture(2, levels=5), blocks=1, stages=1, features=4, dropout_rate=0.5
        ),
        {},
    ),
    "row-lstm": (
        autoregressive.RowLSTM(layers=1, features=3, head_features=4, first_kernel=3),
        {},
    ),
    "diagonal-bilstm": (
        autoregressive.DiagonalBiLSTM(layers=1, features=3, head_features=4, first_kernel=3),
        {},
    ),
}
WAVENET = autoregressive.WaveNet(
    Categorical(8, MuLaw()), layers=2, features=4, skip_features=3, first_kernel=3
)
STEPS = {
    "vae": of_vae(*dense),
    "conv-vae": of_vae(*convolutional),
    "iwae": of_vae(*dense, k=2),
    "conv-iwae": of_vae(*convolutional, k=2),
    "autoencoder": of_autoencoder(*dense),
    "conv-autoencoder": of_autoencoder(*convolutional),
    **{name: of_network(model, image=images(), **more) for name, (model, more) in NETWORKS.items()},
    "wavenet": of_network(WAVENET, audio=SOUND),
    **{
        f"gan-{name}": dense_gan(loss=loss)
        for name, loss in {
            "minimax": losses.minimax,
            "non-saturating": losses.non_saturating,
            "least-squares": losses.least_squares(),
            "hinge": losses.hinge,
            "wasserstein": losses.wasserstein,
        }.items()
    },
    "gan-gradient-penalty": dense_gan(
        norm="layer", loss=losses.wasserstein, penalty=losses.wgan_gp, d_steps=2
    ),
    "gan-r1": dense_gan(penalty=losses.r1, d_steps=2, fresh_images=True),
    "gan-norms": dense_gan(norm="batch", spectral=True, d_steps=2),
    "gan-classes": dense_gan(classes=3),
    "dcgan": of_gan(
        functools.partial(adversarial.ConvGenerator, 2),
        functools.partial(adversarial.ConvDiscriminator, 2),
        SQUARE,
    ),
    "wgan-gp": of_gan(
        functools.partial(adversarial.ResidualGenerator, 2),
        functools.partial(adversarial.ResidualDiscriminator, 2),
        SQUARE,
        loss=losses.wasserstein,
        penalty=losses.wgan_gp,
    ),
    "began": of_began(),
}


@functools.cache
def on_one_device(name):
    """The parameters before and after, and the last metrics."""
    case = STEPS[name]
    state = start = jax.jit(case.start, static_argnums=0)(None)
    step = jax.jit(case.step)
    for _ in range(N_STEPS):
        state, metrics = step(state, case.batch)
    return jax.device_get((start.params, state.params, metrics))


@over_devices
@over_meshes
@pytest.mark.parametrize("name", STEPS)
def test_a_step_over_devices_is_that_of_one(name, mesh, n_devices):
    case = STEPS[name]
    step = MESHES[mesh](case.step, n_devices, reduced=True)
    named = None if mesh in ("automatic", "explicit") else AXIS
    state = jax.jit(case.start, static_argnums=0)(named)
    for _ in range(N_STEPS):
        state, metrics = step(state, case.batch)
    before, after, expected_metrics = on_one_device(name)
    params = jax.device_get(state.params)
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), after, before))
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * max(moved))
    for key, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[key], value, rtol=2e-4, atol=1e-5, err_msg=key)
