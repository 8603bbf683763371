"""The models whose training steps ``benchmark_training`` measures, with their PyTorch twins.

``gated`` is 10 layers of 128 maps, as EugenHotaj/pytorch-generative's Gated PixelCNN by default.
The ``-unet`` ones read another image as well, as those of ``pixelcnn --task super-resolve-2`` do.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.examples import Batches, Examples, Peer
from experiments.benchmarks.peers import Twins
from experiments.benchmarks.text_cases import TextCase, text_cases
from experiments.benchmarks.translation_cases import TranslationCase, translation_cases
from gen_jax import adversarial, autoregressive, latent
from gen_jax.adversarial import gan, losses
from gen_jax.densities import Bernoulli, Categorical, Gaussian, Likelihood, LogisticMixture
from gen_jax.latent import autoencoder
from gen_jax.nn.condition import batch_condition
from gen_jax.state import TrainState
from gen_jax.training.once import compile_once
from gen_jax.training.sharding import Step

TWINLESS = ("row-lstm", "diagonal-bilstm")
"""Models that PyTorch has no twin of."""
LEARNING_RATE, EPSILON = 1e-3, 1e-4  # Adam's, as the twins have them


@dataclasses.dataclass(frozen=True)
class LatentCase:
    """One model at one size: the paper's dense VAE, or convolutions on 28×28×1 or 64×64×3."""

    kind: Literal["vae", "autoencoder"]
    shape: tuple[int, int, int]
    batch_size: int
    latent_dim: int
    hidden: tuple[int, ...] = ()
    features: tuple[int, ...] = ()
    steps_per_dispatch: int = 20

    @property
    def likelihood(self) -> Likelihood:
        return Bernoulli() if self.shape[2] == 1 else Gaussian()

    def batches(self, steps: int) -> Batches:
        return Batches.noise(np.uint8, (steps, self.batch_size, *self.shape), "image")

    def state(self, dtype: str) -> TrainState:
        """Our model, before its first step."""
        compute = jnp.dtype(dtype)
        if self.features:
            encoder = latent.ConvEncoder(self.features, dtype=compute)
            decoder = latent.ConvDecoder(self.features[::-1], dtype=compute)
        else:
            encoder = latent.DenseEncoder(self.hidden, dtype=compute)
            decoder = latent.DenseDecoder(self.hidden[::-1], dtype=compute)
        tx, key = optax.adam(LEARNING_RATE, eps=EPSILON), jax.random.key(0)
        example = jnp.zeros((1, *self.shape), jnp.uint8)
        if self.kind == "autoencoder":
            model = latent.Autoencoder(self.shape, self.latent_dim, encoder, decoder)
            return autoencoder.init(model, tx, key, example)
        model = latent.VAE(self.shape, self.latent_dim, encoder, decoder, self.likelihood)
        return latent.init(model, tx, key, example)

    @property
    def train_step(self) -> Step:
        return autoencoder.train_step if self.kind == "autoencoder" else latent.train_step

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twin's steps on ``examples``, and its number of parameters."""
        from experiments.benchmarks import torch_latent as twins

        vae = self.kind == "vae"
        n_outputs = self.likelihood.n_outputs if vae else 1
        twin = twins.Twin(
            self.shape,
            self.latent_dim,
            n_outputs=n_outputs,
            head=self.latent_dim * (2 if vae else 1),
            hidden=self.hidden,
            features=self.features,
        )
        log_prob = twins.bernoulli if n_outputs == 1 else twins.gaussian
        loss = (
            functools.partial(twins.vae_loss, log_prob=log_prob) if vae else twins.autoencoder_loss
        )
        train = twins.trainer(twin, loss, examples["image"], how=how)
        return train, twins.count_parameters(twin)


@dataclasses.dataclass(frozen=True)
class AutoregressiveCase:
    """One autoregressive network, and the images [H, W, C] or the sound [T, C] it is trained on.

    Where it has an encoder of conditions, this reads another image of the same shape.
    """

    model: Any
    shape: tuple[int, ...]
    batch_size: int
    steps_per_dispatch: int = 5
    """Each dispatch allocates memory that its first step fills: WaveNet's step takes 1.0 s alone
    and 0.8 s as one of five, on two x86 cores."""

    how: Literal["jit", "pmap"] = "jit"

    train_step = staticmethod(autoregressive.train_step)

    @property
    def keys(self) -> tuple[str, ...]:
        """What batches call the data, and its condition."""
        data = "image" if len(self.shape) == 3 else "audio"
        return (data,) if self.model.condition is None else (data, "spatial")

    def batches(self, steps: int) -> Batches:
        stored = np.uint8 if self.keys[0] == "image" else np.int16
        return Batches.noise(stored, (steps, self.batch_size, *self.shape), *self.keys)

    def state(self, dtype: str) -> TrainState:
        """Our network, before its first step."""
        encoder = self.model.condition
        if encoder is not None:
            encoder = encoder.clone(dtype=jnp.dtype(dtype))
        model = self.model.clone(dtype=jnp.dtype(dtype), condition=encoder)
        batch: Any = self.batches(1).batch_at(0, slice(2))
        tx = optax.adam(LEARNING_RATE, eps=EPSILON)
        init = compile_once(functools.partial(autoregressive.init, model, tx))
        cond = batch_condition(batch, labels=False)
        return init(jax.random.key(0), batch[self.keys[0]], cond=cond)

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twin's steps on ``examples``, and its number of parameters."""
        from experiments.benchmarks.torch_latent import count_parameters, trainer

        twin, loss = self.twin()
        train = trainer(twin, loss, *(examples[key] for key in self.keys), how=how)
        return train, count_parameters(twin)

    def twin(self) -> tuple[Any, Callable[..., Any]]:
        """The same network in PyTorch, and its loss."""
        from experiments.benchmarks import torch_pixels as twins

        make = {
            autoregressive.GatedPixelCNN: twins.GatedPixelCNN,
            autoregressive.PixelCNN: twins.PixelCNN,
            autoregressive.PixelCNNPlusPlus: twins.PixelCNNPlusPlus,
            autoregressive.WaveNet: twins.WaveNet,
        }[type(self.model)]
        loss = {
            Bernoulli: twins.binary_loss,
            LogisticMixture: twins.mixture_loss,
            Categorical: twins.sound_loss,
        }[type(self.model.likelihood)]
        return make(self.model, self.shape[-1]), loss


@dataclasses.dataclass(frozen=True)
class AdversarialCase:
    """DCGAN's two networks, and one step of both; with ``penalty`` WGAN-GP's."""

    shape: tuple[int, int, int]
    batch_size: int
    features: int
    latent_dim: int = 100
    penalty: bool = False
    steps_per_dispatch: int = 1

    def batches(self, steps: int) -> Batches:
        return Batches.noise(np.uint8, (steps, self.batch_size, *self.shape), "image")

    def networks(self, dtype: Any) -> tuple[Any, Any]:
        """The generator and the discriminator."""
        generator = adversarial.ConvGenerator(
            self.features, image_shape=self.shape, latent_dim=self.latent_dim, dtype=dtype
        )
        norm = "layer" if self.penalty else "batch"
        return generator, adversarial.ConvDiscriminator(self.features, norm=norm, dtype=dtype)

    def state(self, dtype: str) -> gan.GANState:
        """Both networks, before their first step."""
        tx = optax.adam(2e-4, b1=0.5)
        init = functools.partial(gan.init, *self.networks(jnp.dtype(dtype)), tx, tx)
        return compile_once(init)(jax.random.key(0), self.batches(1).batch_at(0))

    @property
    def train_step(self) -> Step:
        if not self.penalty:
            return gan.train_step
        penalty = losses.weighted(losses.wgan_gp, 10.0)
        return functools.partial(gan.train_step, loss=losses.wasserstein, penalty=penalty)

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twins' steps on ``examples``, and their number of parameters."""
        from experiments.benchmarks import torch_adversarial as twins
        from experiments.benchmarks.torch_latent import count_parameters

        ours = self.networks(jnp.float32)
        pair = twins.Generator(ours[0]), twins.Discriminator(ours[1], self.shape)
        train = twins.gan_trainer(*pair, examples["image"], penalty=self.penalty, how=how)
        return train, sum(map(count_parameters, pair))


Case = LatentCase | AutoregressiveCase | AdversarialCase | TranslationCase | TextCase


def cases(small: bool) -> dict[str, Case]:
    """The models by name."""
    return {
        **latent_cases(small),
        **autoregressive_cases(small),
        **adversarial_cases(small),
        **translation_cases(small),
        **text_cases(small),
    }


def latent_cases(small: bool) -> dict[str, LatentCase]:
    """Variational autoencoders and autoencoders."""
    if small:
        dense: dict[str, Any] = {"hidden": (8, 8), "latent_dim": 2, "batch_size": 4}
        narrow = wide = {"features": (2, 3), "latent_dim": 2, "batch_size": 4}
    else:
        dense = {"hidden": (200, 200), "latent_dim": 50, "batch_size": 128}
        narrow = {"features": (32, 64), "latent_dim": 50, "batch_size": 64}
        wide = {"features": (32, 64, 128), "latent_dim": 128, "batch_size": 64}
    gray, colour = (28, 28, 1), (64, 64, 3)
    return {
        "dense-vae": LatentCase("vae", gray, **dense),
        "conv-vae-28": LatentCase("vae", gray, **narrow),
        "conv-vae-64": LatentCase("vae", colour, **wide),
        "dense-autoencoder": LatentCase("autoencoder", gray, **dense),
        "conv-autoencoder-28": LatentCase("autoencoder", gray, **narrow),
        "conv-autoencoder-64": LatentCase("autoencoder", colour, **wide),
    }


def autoregressive_cases(small: bool) -> dict[str, AutoregressiveCase]:
    """Pixel networks, and one of sound."""
    ar, case, mixture = autoregressive, AutoregressiveCase, LogisticMixture(10)
    if small:
        gated = gated_7x32 = {"layers": 2, "features": 4, "skip_features": 5}
        masked, wavenet = {"layers": 1, "features": 4}, {"stacks": 1, "layers": 2, "features": 4}
        lstm = {"layers": 1, "features": 4}
        plus_plus = half_plus_plus = {"blocks": 1, "stages": 1, "features": 4}
        unet = ar.UNetEncoder(3, depth=1)
        binary: dict[str, Any] = {"shape": (6, 6, 1), "batch_size": 4}
        colour: dict[str, Any] = {"shape": (6, 7, 3), "batch_size": 4}
        sound: dict[str, Any] = {"shape": (40, 1), "batch_size": 4}
    else:
        gated = {"layers": 10, "features": 128, "skip_features": 128}
        gated_7x32 = masked = {"layers": 7, "features": 32}
        lstm = {"layers": 7, "features": 16}
        plus_plus = {"blocks": 2, "stages": 3, "features": 64}
        half_plus_plus = {"blocks": 1, "stages": 3, "features": 32, "dropout_rate": 0.0}
        unet = ar.UNetEncoder(32)
        wavenet = {"stacks": 2, "layers": 10, "features": 32}
        binary = {"shape": (28, 28, 1), "batch_size": 32}
        colour = {"shape": (32, 32, 3), "batch_size": 16}
        sound = {"shape": (4096, 1), "batch_size": 8}
    return {
        "gated": case(ar.GatedPixelCNN(**gated), **binary),
        "gated-7x32": case(ar.GatedPixelCNN(**gated_7x32), **binary),
        "masked": case(ar.PixelCNN(**masked), **binary),
        "plus-plus": case(ar.PixelCNNPlusPlus(mixture, **plus_plus), **colour),
        "wavenet": case(ar.WaveNet(**wavenet), **sound),
        "row-lstm": case(ar.RowLSTM(**lstm), **binary, how="pmap"),
        "diagonal-bilstm": case(ar.DiagonalBiLSTM(**lstm), **binary, how="pmap"),
        "gated-unet": case(ar.GatedPixelCNN(mixture, **gated_7x32, condition=unet), **colour),
        "plus-plus-unet": case(
            ar.PixelCNNPlusPlus(mixture, **half_plus_plus, condition=unet), **colour
        ),
    }


def adversarial_cases(small: bool) -> dict[str, AdversarialCase]:
    """DCGAN's networks, and WGAN-GP's step, which differentiates twice."""
    features, batch = (2, 4) if small else (64, 64)
    gray, colour = (28, 28, 1), ((16, 16, 3) if small else (64, 64, 3))
    return {
        "dcgan-28": AdversarialCase(gray, batch, features),
        "dcgan-64": AdversarialCase(colour, batch, features),
        "wgan-gp-28": AdversarialCase(gray, batch, features, penalty=True),
    }
