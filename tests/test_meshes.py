"""Every public step and sampler gives the numbers of one device on every kind of mesh.

A new model joins by a row in ``CASES``, its sampler by one in ``SAMPLERS``.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax import adversarial, autoregressive, latent, training
from gen_jax.adversarial import (
    augmentation,
    began,
    cyclegan,
    gan,
    joint_embedding,
    losses,
    pix2pix,
    style,
    text_to_image,
)
from gen_jax.densities import Categorical, LogisticMixture, MuLaw
from gen_jax.images import as_symmetric
from gen_jax.latent import autoencoder
from gen_jax.meshes import mean_gradients, mean_over_devices
from gen_jax.nn.text import CharCNNRNN

AXIS = "data"
SHAPE = (5, 6, 1)
LARGE = (8, 7, 1)  # what a discriminator of patches takes
N_STEPS = 5


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
    return _placed(jax.jit(function), mesh)


def explicit(function, n, *, reduced):
    mesh = jax.make_mesh((n,), (AXIS,), devices=jax.devices()[:n])
    return _placed(jax.jit(function), mesh)


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


# The models


@dataclasses.dataclass(frozen=True)
class Case:
    """A model to be tried: ``init`` makes its state, ``step`` and ``evaluate`` read ``batch``.

    ``statistics`` says that it has batch statistics, which devices share.
    """

    init: Callable[[], Any]
    step: Callable[..., Any]
    evaluate: Callable[..., Any]
    batch: dict[str, np.ndarray]
    statistics: bool = False

    def start(self, axis_name=None):
        """A state with random numbers everywhere: no initializer is compiled."""
        random = np.random.default_rng(0)

        def draw(path, leaf):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.key(0)
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return np.zeros(leaf.shape, leaf.dtype)
            values = 0.3 * random.normal(size=leaf.shape).astype(leaf.dtype)
            return values if "params" in str(path) else np.abs(values)  # variances, k

        state = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(self.init))
        if not self.statistics or axis_name is None:
            return state
        players = {
            name: getattr(state, name).replace(
                model=getattr(state, name).model.clone(axis_name=axis_name)
            )
            for name in ("generator", "discriminator")
        }
        return state.replace(**players)


def images(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (8, *shape), np.uint8)


LABELS = np.arange(8, dtype=np.int32) % 3
KEY, SGD, EXAMPLE = jax.random.key(0), optax.sgd(1e-2), np.zeros((1, *SHAPE), np.uint8)
dense = latent.DenseEncoder((8,)), latent.DenseDecoder((8,))
convolutional = latent.ConvEncoder((2, 4)), latent.ConvDecoder((4, 2))


def of_vae(networks, k=None):
    def init():
        return latent.init(latent.VAE(SHAPE, 3, *networks), optax.sgd(1e-3), KEY, EXAMPLE)

    step, evaluate = (functools.partial(f, k=k) for f in (latent.train_step, latent.eval_step))
    return Case(init, step, evaluate, {"image": images()})


def of_autoencoder(networks):
    def init():
        return autoencoder.init(latent.Autoencoder(SHAPE, 3, *networks), SGD, KEY, EXAMPLE)

    return Case(init, autoencoder.train_step, alone(autoencoder.eval_step), {"image": images()})


def of_network(model, **batch):
    def init():
        cond = jnp.asarray(batch["label"]) if "label" in batch else None
        example = jnp.asarray(autoregressive.objective.batch_data(batch))
        return autoregressive.init(model, optax.sgd(1e-3), KEY, example, cond=cond)

    return Case(init, autoregressive.train_step, autoregressive.eval_step, batch)


def of_gan(generator, discriminator, *, statistics=False, **options):
    batch = {"image": images(), "label": LABELS}

    def init():
        networks = generator(image_shape=SHAPE, latent_dim=3), discriminator()
        return gan.init(*networks, SGD, SGD, KEY, batch, ema_decay=0.9)

    step = functools.partial(gan.train_step, **options)
    return Case(init, step, alone(gan.eval_step), batch, statistics)


def dense_gan(hidden=(5,), *, n_classes=None, norm="none", spectral=False, **options):
    fields = {"n_classes": n_classes, "norm": norm}
    return of_gan(
        functools.partial(adversarial.DenseGenerator, hidden, **fields),
        functools.partial(adversarial.DenseDiscriminator, hidden, spectral=spectral, **fields),
        statistics=norm == "batch",
        **options,
    )


class Reconstruction(nn.Module):
    """The least that BEGAN asks of a discriminator."""

    @nn.compact
    def __call__(self, x, cond=None, *, train=False):
        code = nn.tanh(nn.Dense(3)(x.reshape(len(x), -1)))
        return nn.Dense(int(np.prod(x.shape[1:])))(code).reshape(x.shape)


def of_began():
    def init():
        generator = adversarial.DenseGenerator((), image_shape=SHAPE, latent_dim=3)
        return began.init(generator, Reconstruction(), SGD, SGD, KEY, {"image": EXAMPLE})

    step = functools.partial(began.train_step, lambda_k=0.5)
    return Case(init, step, alone(began.eval_step), {"image": images()})


def judge_of_patches(norm):
    return adversarial.PatchDiscriminator(2, receptive_field=16, norm=norm)


UNET = functools.partial(adversarial.UNetGenerator, depth=2)
RESNET = functools.partial(adversarial.ResNetGenerator, blocks=1)


def of_pix2pix(norm, *, network=UNET, stored=True, **options):
    batch = {"image": images(LARGE), "spatial": images(LARGE, seed=2)}
    if not stored:  # a change of them is not rounded to levels, up or down by another rounding
        batch = {name: np.asarray(as_symmetric(value)) for name, value in batch.items()}

    def init():
        generator = network(2, channels=1, norm=norm)
        return pix2pix.init(generator, judge_of_patches(norm), SGD, SGD, KEY, batch, ema_decay=0.9)

    step = functools.partial(pix2pix.train_step, weight=1.0, **options)
    return Case(init, step, alone(pix2pix.eval_step), batch, statistics=norm == "batch")


def of_cyclegan():
    batch = {"a": images(LARGE), "b": images(LARGE, seed=2)}

    def init():
        # Of one halving: a step has eight translations to compile.
        generator = adversarial.UNetGenerator(2, channels=1, depth=1)
        players = (generator, generator), (judge_of_patches("instance"),) * 2
        # Two steps fill the pools; in the others images are swapped.
        return cyclegan.init(*players, SGD, SGD, KEY, batch, pool_size=13, ema_decay=0.9)

    return Case(init, cyclegan.train_step, alone(cyclegan.eval_step), batch)


TEXT = CharCNNRNN((4, 3, 4), (2, 1, 1), hidden=3, embedding=4, vocabulary=9)


def texts(k=2):
    random = np.random.default_rng(4)
    return random.integers(1, TEXT.vocabulary, (8, k, TEXT.least_length + 18), np.uint8)


def of_joint_embedding():
    random = np.random.default_rng(5)
    said = {
        "meaning": random.integers(-1, 3, (8, 2, 2)).astype(np.int32),
        "attributes": random.integers(0, 3, (8, 2)).astype(np.int32),
    }
    batch = {"image": images(), "tokens": texts(), **said}

    def init():
        model = joint_embedding.JointEmbedding(TEXT, joint_embedding.ImageEncoder(2, 4))
        return joint_embedding.init(model, SGD, KEY, batch, ema_decay=0.9)

    return Case(init, joint_embedding.train_step, joint_embedding.eval_step, batch)


def of_text_to_image(**options):
    random = np.random.default_rng(3)
    attributes = np.arange(8, dtype=np.int32)[:, None] % 3
    captions = {
        "vector": random.normal(size=(8, 2, 4)).astype(np.float32),
        "meaning": np.stack([attributes, np.where(attributes < 2, attributes, -1)], axis=1),
        "attributes": attributes,
    }
    batch = {"image": images(), **captions}

    def init():
        generator = adversarial.TextGenerator(2, image_shape=SHAPE, latent_dim=3, text_dim=2)
        discriminator = adversarial.TextDiscriminator(2, text_dim=2)
        return text_to_image.init(generator, discriminator, SGD, SGD, KEY, batch, ema_decay=0.9)

    step = functools.partial(text_to_image.train_step, **options)
    return Case(init, step, alone(text_to_image.eval_step), batch, statistics=True)


def of_style():
    batch = CASES["text-to-image"].batch

    def init():
        encoder = adversarial.StyleEncoder(2, latent_dim=3, norm="layer")
        return style.init(encoder, SGD, KEY, CASES["text-to-image"].init(), batch)

    return Case(init, style.train_step, alone(style.encode), batch)


def alone(evaluate):
    """An evaluation that draws nothing, and so asks of no axis."""
    return lambda state, batch, axis_name=None: evaluate(state, batch)


NETWORKS = {
    "pixelcnn": autoregressive.PixelCNN(layers=1, features=4, head_features=4, first_kernel=3),
    "gated-pixelcnn": autoregressive.GatedPixelCNN(
        Categorical(3), layers=2, features=4, skip_features=3, first_kernel=3, n_classes=3
    ),
    "pixelcnn-pp": autoregressive.PixelCNNPlusPlus(
        LogisticMixture(2, levels=5), blocks=1, stages=1, features=4
    ),
    "row-lstm": autoregressive.RowLSTM(layers=1, features=3, head_features=4, first_kernel=3),
    "diagonal-bilstm": autoregressive.DiagonalBiLSTM(
        layers=1, features=3, head_features=4, first_kernel=3
    ),
    "wavenet": autoregressive.WaveNet(
        Categorical(8, MuLaw()), layers=2, features=4, skip_features=3, first_kernel=3
    ),
}
SOUND = np.random.default_rng(1).integers(-(2**15), 2**15, (8, 9, 1), np.int16)
DATA = {name: {"image": images()} for name in NETWORKS} | {
    "gated-pixelcnn": {"image": images(), "label": LABELS},
    "wavenet": {"audio": SOUND},
}
CASES = {
    "vae": of_vae(dense),
    "conv-vae": of_vae(convolutional),
    "iwae": of_vae(dense, k=2),
    "autoencoder": of_autoencoder(dense),
    **{name: of_network(model, **DATA[name]) for name, model in NETWORKS.items()},
    # Each loss and each penalty in some game.
    "gan": dense_gan((), loss=losses.non_saturating),
    "gan-gradient-penalty": dense_gan(
        norm="layer", loss=losses.wasserstein, penalty=losses.wgan_gp, d_steps=2
    ),
    "gan-r1-classes": dense_gan(
        n_classes=3, loss=losses.minimax, penalty=losses.r1, d_steps=2, reuse_images=True
    ),
    "gan-norms": dense_gan((5, 4), norm="batch", spectral=True, loss=losses.hinge),
    "dcgan": of_gan(
        functools.partial(adversarial.ConvGenerator, 2),
        functools.partial(adversarial.ConvDiscriminator, 2),
        statistics=True,
        loss=losses.least_squares(),
    ),
    "conv-gradient-penalty": of_gan(
        functools.partial(adversarial.DenseGenerator, ()),
        functools.partial(adversarial.ConvDiscriminator, 2, norm="none"),
        loss=losses.wasserstein,
        penalty=losses.wgan_gp,
    ),
    "began": of_began(),
    "pix2pix": of_pix2pix("instance", stored=False, augment=augmentation.jitter(enlarge=1.3)),
    "pix2pix-batch-norm": of_pix2pix("batch"),
    "pix2pix-regression": of_pix2pix("batch", network=RESNET, loss=None),
    "cyclegan": of_cyclegan(),
    "joint-embedding": of_joint_embedding(),
    "text-to-image": of_text_to_image(interpolated=1.0, beta=0.3),
    "text-to-image-shared": of_text_to_image(loss=losses.hinge, d_steps=2),
}
CASES["style"] = of_style()


# Training


@functools.cache
def trained_on_one_device(name):
    """The state after ``N_STEPS``, and the last metrics."""
    case = CASES[name]
    return trained(case, jax.jit(case.step), case.start())


def trained(case, step, state):
    for _ in range(N_STEPS):
        state, metrics = step(state, case.batch)
    return state, metrics


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(
    ("name", "n_devices"),
    [(name, 4) for name in CASES] + [(name, 1) for name in ("vae", "row-lstm")],
)
def test_a_step_over_devices_is_that_of_one(name, mesh, n_devices):
    """Whole states and metrics, to a small part of how far the parameters move."""
    case = CASES[name]
    axis_name = None if mesh in ("automatic", "explicit") else AXIS
    step = MESHES[mesh](case.step, n_devices, reduced=True)
    start = case.start(axis_name)
    after, metrics = trained(case, step, start)
    expected, expected_metrics = trained_on_one_device(name)
    moved = max(
        float(np.abs(a - b).max())
        for a, b in zip(*map(jax.tree.leaves, (expected.params, start.params)), strict=True)
    )
    for ours, theirs in zip(*map(jax.tree.leaves, (after, expected)), strict=True):
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-3 * moved)
    for key, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def test_a_step_that_is_not_told_of_an_axis_refuses_it():
    """Its gradients would be sums over the devices."""
    for name in ("autoencoder", "vae", "gan"):
        case = CASES[name]

        def step(state, batch, axis_name, step=case.step):
            return step(state, batch)

        with pytest.raises(ValueError, match="only when called with axis_name='data'"):
            MESHES["shard_map"](step, 4, reduced=True)(case.start(), case.batch)


# Evaluation and sampling


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(
    "name",
    [
        "iwae",
        "autoencoder",
        *NETWORKS,
        "gan-r1-classes",
        "began",
        "pix2pix",
        "cyclegan",
        "joint-embedding",
        "text-to-image",
    ],
)
def test_an_evaluation_over_devices_is_that_of_one(name, mesh):
    case = CASES[name]
    state = case.start()
    metrics = MESHES[mesh](case.evaluate, 4, reduced=False)(state, case.batch)
    for key, value in evaluated_on_one_device(name).items():
        assert value.shape == (8,)
        np.testing.assert_allclose(metrics[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


@functools.cache
def evaluated_on_one_device(name):
    case = CASES[name]
    return jax.jit(case.evaluate)(case.start(), case.batch)


def sample_network(name, method="cached"):
    def sample(state, inputs, axis_name=None):
        return autoregressive.sample(
            NETWORKS[name],
            state.params,
            state.key,
            (len(inputs["numbers"]), *(SHAPE if name != "wavenet" else (9, 1))),
            method=method,
            cond=inputs["label"] if name == "gated-pixelcnn" else None,
            numbers=inputs["numbers"],
        )

    return sample


def sample_vae(state, inputs, axis_name=None):
    numbers = inputs["numbers"]
    return latent.sample(
        state.model, state.params, state.key, len(numbers), mean=False, numbers=numbers
    )


def sample_gan(state, inputs, axis_name=None):
    return adversarial.sample(state, state.key, len(inputs["numbers"]), numbers=inputs["numbers"])


def translate_pix2pix(state, inputs, axis_name=None):
    return pix2pix.translate(state, state.key, inputs["source"], numbers=inputs["numbers"])


def translate_cyclegan(state, inputs, axis_name=None, *, direction):
    return cyclegan.translate(state, inputs["source"], direction)


def embed_text(state, inputs, axis_name=None):
    """To three places: in the last bits devices may differ."""
    return joint_embedding.embed_text(state, inputs["tokens"]).round(3)


def embed_image(state, inputs, axis_name=None):
    return joint_embedding.embed_image(state, inputs["image"]).round(3)


def sample_text_to_image(state, inputs, axis_name=None):
    return text_to_image.sample(state, state.key, inputs["vector"], inputs["numbers"])


def transfer_style(state, inputs, axis_name=None):
    return style.transfer(state, inputs["small"], inputs["vector"])


SAMPLERS = {
    "vae": sample_vae,
    "conv-vae": sample_vae,
    "gan-r1-classes": sample_gan,
    "dcgan": sample_gan,
    **{name: sample_network(name) for name in NETWORKS},
    "row-lstm, naive": sample_network("row-lstm", "naive"),
    "row-lstm, jacobi": sample_network("row-lstm", "jacobi"),
    "gated-pixelcnn, jacobi": sample_network("gated-pixelcnn", "jacobi"),
    "pix2pix": translate_pix2pix,
    "pix2pix-regression": translate_pix2pix,
    "cyclegan, forward": functools.partial(translate_cyclegan, direction="forward"),
    "cyclegan, backward": functools.partial(translate_cyclegan, direction="backward"),
    "joint-embedding, text": embed_text,
    "joint-embedding, image": embed_image,
    "text-to-image": sample_text_to_image,
    "style": transfer_style,
}
INPUTS = {
    "numbers": np.arange(40, 48, dtype=np.int32),
    "label": LABELS,
    "source": images(LARGE, seed=3),
    "image": images(seed=3),
    "tokens": texts(),
    "small": images(seed=3),
    "vector": np.random.default_rng(3).normal(size=(8, 4)).astype(np.float32),
}


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_drawn_over_devices_are_those_of_one(name, mesh):
    state = CASES[name.split(",")[0]].start()
    drawn = MESHES[mesh](SAMPLERS[name], 4, reduced=False)(state, INPUTS)
    np.testing.assert_array_equal(drawn, sampled_on_one_device(name))
    if mesh != "pmap":
        assert drawn.sharding.shard_shape(drawn.shape)[0] == 2


@functools.cache
def sampled_on_one_device(name):
    drawn = jax.jit(SAMPLERS[name])(CASES[name.split(",")[0]].start(), INPUTS)
    assert len(np.unique(np.asarray(drawn).reshape(8, -1), axis=0)) > 1
    return drawn


def test_gradients_values_and_what_comes_with_them_are_means_over_devices():
    params = {"w": jnp.array([1.0, 2.0])}

    def local(x):
        def loss(params):
            return (params["w"] * x).sum(), {"x": x}

        return mean_gradients(loss, params, AXIS)

    x = jnp.arange(6.0).reshape(3, 2)
    grads, value, aux = jax.vmap(local, axis_name=AXIS)(x)
    np.testing.assert_allclose(grads["w"], np.broadcast_to(x.mean(0), (3, 2)))
    np.testing.assert_allclose(value, np.full(3, (x @ params["w"]).mean()))
    np.testing.assert_allclose(aux["x"], np.broadcast_to(x.mean(0), (3, 2)))


def test_mean_over_devices_averages_only_over_a_named_axis():
    values = jnp.arange(4.0)
    averaged = jax.vmap(lambda x: mean_over_devices({"x": x}, AXIS), axis_name=AXIS)(values)
    np.testing.assert_array_equal(averaged["x"], jnp.full(4, 1.5))
    assert mean_over_devices(values, None) is values
