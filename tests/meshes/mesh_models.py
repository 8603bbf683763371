"""Tiny models of every kind, and how each is sampled: what is tried on every mesh."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gen_jax import adversarial, autoregressive, latent
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
from gen_jax.nn.condition import batch_condition
from gen_jax.nn.text import CharCNNRNN

SHAPE = (5, 6, 1)
LARGE = (8, 7, 1)  # what a discriminator of patches takes


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


def of_network(model, *, hidden=None, **batch):
    def init():
        cond = batch_condition(batch, labels=model.n_classes is not None)
        example = jnp.asarray(autoregressive.objective.batch_data(batch))
        return autoregressive.init(model, optax.sgd(1e-3), KEY, example, cond=cond)

    step, evaluate = (
        functools.partial(f, hidden=hidden)
        for f in (autoregressive.train_step, autoregressive.eval_step)
    )
    return Case(init, step, evaluate, batch)


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


def of_text_to_image(discriminator=None, **options):
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
        players = generator, discriminator or adversarial.TextDiscriminator(2, text_dim=2)
        return text_to_image.init(*players, SGD, SGD, KEY, batch, ema_decay=0.9)

    step = functools.partial(text_to_image.train_step, **options)
    return Case(init, step, alone(text_to_image.eval_step), batch, statistics=True)


def of_style():
    game = of_text_to_image()

    def init():
        encoder = adversarial.StyleEncoder(2, latent_dim=3, norm="layer")
        return style.init(encoder, SGD, jax.random.key(1), game.init(), game.batch)

    return Case(init, style.train_step, alone(style.eval_step), game.batch)


def alone(evaluate):
    """An evaluation that draws nothing, and so asks of no axis."""
    return lambda state, batch, axis_name=None: evaluate(state, batch)


NETWORKS = {
    "pixelcnn": autoregressive.PixelCNN(layers=1, features=4, head_features=4, first_kernel=3),
    "gated-pixelcnn": autoregressive.GatedPixelCNN(
        Categorical(3), layers=2, features=4, skip_features=3, first_kernel=3, n_classes=3
    ),
    "encoded-pixelcnn": autoregressive.PixelCNN(
        layers=1,
        features=4,
        head_features=4,
        first_kernel=3,
        condition=autoregressive.IteratedEncoder(3, steps=3, stride=2),
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
    "encoded-pixelcnn": {"image": images(), "spatial": images(seed=2)},
    "wavenet": {"audio": SOUND},
}
CASES = {
    "vae": of_vae(dense),
    "conv-vae": of_vae(convolutional),
    "iwae": of_vae(dense, k=2),
    "autoencoder": of_autoencoder(dense),
    **{name: of_network(model, **DATA[name]) for name, model in NETWORKS.items()},
    "pixelcnn-hidden": of_network(
        NETWORKS["pixelcnn"], hidden=lambda batch: batch["image"] > 99, image=images()
    ),
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
    "text-to-image-projected": of_text_to_image(
        adversarial.TextDiscriminator(2, text_dim=2, match="projected", norm="none", spectral=True),
        loss=losses.hinge,
        d_steps=2,
    ),
    "style": of_style(),
}


# Their samplers


CONDITIONS = {"gated-pixelcnn": "label", "encoded-pixelcnn": "spatial"}


def sample_network(name, method="cached"):
    def sample(state, inputs, axis_name=None):
        return autoregressive.sample(
            NETWORKS[name],
            state.params,
            state.key,
            (len(inputs["numbers"]), *(SHAPE if name != "wavenet" else (9, 1))),
            method=method,
            cond=inputs[CONDITIONS[name]] if name in CONDITIONS else None,
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
    "spatial": images(seed=4),
    "source": images(LARGE, seed=3),
    "image": images(seed=3),
    "tokens": texts(),
    "small": images(seed=3),
    "vector": np.random.default_rng(3).normal(size=(8, 4)).astype(np.float32),
}
