"""The models that translate images, as ``training_cases`` has the others."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.examples import Batches, Examples, Peer
from experiments.benchmarks.peers import Twins
from gen_jax.adversarial import (
    PatchDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    cyclegan,
    pix2pix,
)
from gen_jax.adversarial.gan import GANState
from gen_jax.adversarial.translation.cyclegan import CycleGANState
from gen_jax.training.once import compile_once


def adam() -> optax.GradientTransformation:
    """Both papers' optimizer, as the twins have it."""
    return optax.adam(2e-4, b1=0.5)


@dataclasses.dataclass(frozen=True)
class Pix2PixCase:
    """A U-Net and a PatchGAN, and one step of both."""

    shape: tuple[int, int, int]
    batch_size: int
    features: int
    steps_per_dispatch: int = 1

    train_step = staticmethod(pix2pix.train_step)

    def batches(self, steps: int) -> Batches:
        return Batches.noise(np.uint8, (steps, self.batch_size, *self.shape), "image", "spatial")

    def networks(self, dtype: Any = jnp.float32) -> tuple[UNetGenerator, PatchDiscriminator]:
        """The generator and the discriminator."""
        generator = UNetGenerator(self.features, channels=self.shape[2], dtype=dtype)
        return generator, PatchDiscriminator(self.features, dtype=dtype)

    def state(self, dtype: str) -> GANState:
        """Both networks, before their first step."""
        init = functools.partial(pix2pix.init, *self.networks(jnp.dtype(dtype)), adam(), adam())
        return compile_once(init)(jax.random.key(0), self.batches(1).batch_at(0))

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twins' steps on ``examples``, and their number of parameters."""
        from experiments.benchmarks import torch_translation as twins
        from experiments.benchmarks.torch_latent import count_parameters

        pair = twins.pix2pix_networks(*self.networks(), self.shape)
        train = twins.pix2pix_trainer(*pair, examples["image"], examples["spatial"], how=how)
        return train, sum(map(count_parameters, pair))


@dataclasses.dataclass(frozen=True)
class CycleGANCase:
    """Two residual generators and two PatchGANs, and one step of all four."""

    shape: tuple[int, int, int]
    batch_size: int
    features: int
    blocks: int
    pool_size: int
    steps_per_dispatch: int = 1

    train_step = staticmethod(cyclegan.train_step)

    def batches(self, steps: int) -> Batches:
        return Batches.noise(np.uint8, (steps, self.batch_size, *self.shape), "a", "b")

    def networks(self, dtype: Any = jnp.float32) -> tuple[ResNetGenerator, PatchDiscriminator]:
        """Either domain's generator and discriminator."""
        generator = ResNetGenerator(
            self.features, channels=self.shape[2], blocks=self.blocks, dtype=dtype
        )
        return generator, PatchDiscriminator(self.features, norm="instance", dtype=dtype)

    def state(self, dtype: str) -> CycleGANState:
        """All four networks, before their first step."""
        generator, discriminator = self.networks(jnp.dtype(dtype))
        init = functools.partial(
            cyclegan.init,
            (generator, generator),
            (discriminator, discriminator),
            adam(),
            adam(),
            pool_size=self.pool_size,
        )
        return compile_once(init)(jax.random.key(0), self.batches(1).batch_at(0))

    def peer(self, examples: Examples, how: Twins) -> Peer:
        """The twins' steps on ``examples``, and their number of parameters."""
        from experiments.benchmarks import torch_translation as twins
        from experiments.benchmarks.torch_latent import count_parameters

        forward, backward = (
            twins.cyclegan_networks(*self.networks(), self.shape) for _ in range(2)
        )
        a, b = examples["a"], examples["b"]
        train = twins.cyclegan_trainer(forward, backward, a, b, pool_size=self.pool_size, how=how)
        return train, sum(map(count_parameters, (*forward, *backward)))


TranslationCase = Pix2PixCase | CycleGANCase


def translation_cases(small: bool) -> dict[str, TranslationCase]:
    """pix2pix at two sizes, and CycleGAN; the larger ones have the papers' widths."""
    if small:
        tiny = (32, 32, 3)
        pix = Pix2PixCase(tiny, batch_size=2, features=2)
        cycle = CycleGANCase(tiny, batch_size=1, features=2, blocks=1, pool_size=2)
        return {"pix2pix-64": pix, "pix2pix-256": pix, "cyclegan-128": cycle}
    return {
        "pix2pix-64": Pix2PixCase((64, 64, 3), batch_size=16, features=32),
        "pix2pix-256": Pix2PixCase((256, 256, 3), batch_size=1, features=64),
        "cyclegan-128": CycleGANCase(
            (128, 128, 3), batch_size=1, features=64, blocks=6, pool_size=50
        ),
    }
