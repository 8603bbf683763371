"""The models of images and texts, as ``training_cases`` has the others."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.examples import Batches, Examples, Peer
from experiments.benchmarks.peers import Twins
from experiments.benchmarks.translation_cases import adam
from gen_jax.adversarial import (
    ImageEncoder,
    JointEmbedding,
    TextDiscriminator,
    TextGenerator,
    joint_embedding,
    text_to_image,
)
from gen_jax.adversarial.gan import GANState
from gen_jax.data.captions.letters import ALPHABET
from gen_jax.nn.text import CharCNNRNN
from gen_jax.state import TrainState
from gen_jax.training.once import compile_once

CAPTIONS, ATTRIBUTES, VALUES = 5, 6, 10  # of an image, as captioned digits have them


@dataclasses.dataclass(frozen=True)
class CaptionedCase:
    """What both cases share: images with captions, and what these say of them."""

    shape: tuple[int, int, int]
    batch_size: int
    captions: int

    def captioned(self, steps: int, random: np.random.Generator) -> Examples:
        """Noise, and captions that say a part of what is true of each: its first attribute, and
        half of the others."""
        images = Batches.noise(np.uint8, (steps, self.batch_size, *self.shape), "image")
        shape = (steps, self.batch_size, self.captions, ATTRIBUTES)
        attributes = random.integers(0, VALUES, (*shape[:2], ATTRIBUTES), np.int32)
        said = random.random(shape) < np.where(np.arange(ATTRIBUTES) == 0, 1.0, 0.5)
        meaning = np.where(said, attributes[:, :, None], np.int32(-1))
        return {**images.examples, "meaning": meaning, "attributes": attributes}


@dataclasses.dataclass(frozen=True)
class TextToImageCase(CaptionedCase):
    """Both players of text to image, and one step of GAN-CLS, on texts of ``text_size`` numbers."""

    features: int
    latent_dim: int
    text_size: int
    text_dim: int
    steps_per_dispatch: int = 1

    train_step = staticmethod(text_to_image.train_step)

    def batches(self, steps: int) -> Batches:
        random = np.random.default_rng(0)
        shape = (steps, self.batch_size, self.captions, self.text_size)
        vector = random.standard_normal(shape, np.float32)
        return Batches({**self.captioned(steps, random), "vector": vector})

    def networks(self, dtype: Any = jnp.float32) -> tuple[TextGenerator, TextDiscriminator]:
        """The generator and the discriminator."""
        shared: Any = {"text_dim": self.text_dim, "dtype": dtype}
        generator = TextGenerator(
            self.features, image_shape=self.shape, latent_dim=self.latent_dim, **shared
        )
        return generator, TextDiscriminator(self.features, **shared)

    def state(self, dtype: str) -> GANState:
        """Both networks, before their first step."""
        networks = self.networks(jnp.dtype(dtype))
        init = functools.partial(text_to_image.init, *networks, adam(), adam())
        return compile_once(init)(jax.random.key(0), self.batches(1).batch_at(0))

    def twins(self) -> tuple[Any, Any]:
        """Both networks in PyTorch."""
        from experiments.benchmarks import torch_text as twins

        generator, discriminator = self.networks()
        return (
            twins.TextGenerator(generator, self.text_size),
            twins.TextDiscriminator(discriminator, self.shape, self.text_size),
        )

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twins' steps on ``examples``, and their number of parameters."""
        from experiments.benchmarks.torch_latent import count_parameters
        from experiments.benchmarks.torch_text import text_to_image_trainer

        pair = self.twins()
        train = text_to_image_trainer(*pair, examples, how=how)
        return train, sum(map(count_parameters, pair))


@dataclasses.dataclass(frozen=True)
class TextEncoderCase(CaptionedCase):
    """An encoder of texts of ``letters`` beside one of images, and one step of both."""

    letters: int
    features: tuple[int, ...]
    hidden: int
    embedding: int
    image_features: int
    steps_per_dispatch: int = 5

    train_step = staticmethod(joint_embedding.train_step)

    def batches(self, steps: int) -> Batches:
        random = np.random.default_rng(0)
        shape = (steps, self.batch_size, self.captions, self.letters)
        tokens = random.integers(1, len(ALPHABET) + 1, shape, np.uint8)
        lengths = random.integers(self.letters // 4, self.letters, (*shape[:-1], 1))
        tokens = np.where(np.arange(self.letters) < lengths, tokens, np.uint8(0))
        return Batches({**self.captioned(steps, random), "tokens": tokens})

    def networks(self, dtype: Any = jnp.float32) -> JointEmbedding:
        """Both encoders."""
        text = CharCNNRNN(
            self.features,
            (4,) * len(self.features),
            hidden=self.hidden,
            embedding=self.embedding,
            vocabulary=len(ALPHABET) + 1,
            dtype=dtype,
        )
        return JointEmbedding(text, ImageEncoder(self.image_features, self.embedding, dtype=dtype))

    def state(self, dtype: str) -> TrainState:
        """Both encoders, before their first step."""
        networks, tx = self.networks(jnp.dtype(dtype)), optax.adam(1e-3)
        init = functools.partial(joint_embedding.init, networks, tx)
        return compile_once(init)(jax.random.key(0), self.batches(1).batch_at(0))

    def twin(self) -> Any:
        """Both encoders in PyTorch."""
        from experiments.benchmarks import torch_text as twins

        return twins.JointEmbedding(self.networks(), self.shape)

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twin's steps on ``examples``, and its number of parameters."""
        from experiments.benchmarks.torch_latent import count_parameters
        from experiments.benchmarks.torch_text import joint_embedding_trainer

        twin = self.twin()
        return joint_embedding_trainer(twin, examples, how=how), count_parameters(twin)


TextCase = TextToImageCase | TextEncoderCase


def text_cases(small: bool) -> dict[str, TextCase]:
    """Text to image, the paper's game at sizes for digits, and its text encoder."""
    if small:
        tiny: Any = {"shape": (14, 14, 3), "batch_size": 2, "captions": 1}
        players: Any = {"features": 2, "latent_dim": 3, "text_size": 5, "text_dim": 4}
        encoders: Any = {"features": (3, 4), "hidden": 5, "embedding": 6, "image_features": 2}
        return {
            "text-to-image": TextToImageCase(**tiny, **players),
            "text-encoder": TextEncoderCase(**tiny, **encoders, letters=20),
        }
    digits: Any = {"shape": (28, 28, 3), "captions": CAPTIONS}
    return {
        "text-to-image": TextToImageCase(
            **digits, batch_size=64, features=32, latent_dim=32, text_size=128, text_dim=64
        ),
        "text-encoder": TextEncoderCase(
            **digits,
            batch_size=128,
            letters=128,
            features=(64, 64, 64),
            hidden=64,
            embedding=128,
            image_features=32,
        ),
    }
