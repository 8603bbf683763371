"""The networks of BEGAN (Berthelot et al. 2017, 1703.10717), section 3.5.

The discriminator is an autoencoder of 3×3 convolutions and ELUs, two for each size of map, of which
each is half as large as the one before; the generator is another decoder. Codes and images are
joined to the maps by linear layers. The last layer is linear: the range [-1, 1] is learned, and
what leaves it is clipped where images are stored. (With a tanh there, at digits, the generator
stayed gray: in 600 steps its gradient's norm grew from 3 to 93.) Neither takes labels.
"""

import dataclasses
import functools
import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages, Latents, generator_input, read_label
from gen_jax.adversarial.sizes import halvings
from gen_jax.nn.condition import Condition
from gen_jax.nn.conv import Conv, UpsampleConv
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array, ImageShape

SMALLEST = (8, 7, 4)  # the paper begins at 8×8


class BEGANDecoder(nn.Module):
    """From a code to an image: a map of the smallest size, twice as large every two convolutions.

    All maps have ``features`` channels. As a generator it takes latents [B, latent_dim], in the
    paper from [-1, 1]; they are multiplied by ``latent_scale``, without which a new generator's
    images are nearly alike. ``image_mean`` is the level at which all pixels start, in [-1, 1].
    The smaller side must be 8·2^k, 7·2^k or 4·2^k, k >= 1: ``halvings``.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    image_shape: ImageShape
    latent_dim: int = 64
    latent_scale: float = 1.0
    image_mean: float = 0.0
    dtype: DTypeLike = jnp.float32

    n_classes = None

    @nn.compact
    def __call__(
        self, z: Latents, cond: Condition | None = None, *, train: bool = False
    ) -> FloatImages:
        del train  # nothing differs
        height, width, channels = self.image_shape
        k = halvings((height, width), SMALLEST)
        smallest = (height >> k, width >> k, self.features)
        dense = nn.Dense(math.prod(smallest), dtype=self.dtype, name="dense")
        z = self.latent_scale * generator_input(self, z, cond)
        x = dense(z).reshape(-1, *smallest)
        for i in range(k + 1):
            # The paper's repetition of pixels and the convolution after it are one layer here.
            first = UpsampleConv if i > 0 else Conv
            x = nn.elu(first(self.features, dtype=self.dtype, name=f"conv_{i}_0")(x))
            x = nn.elu(Conv(self.features, dtype=self.dtype, name=f"conv_{i}_1")(x))
        mean = nn.initializers.constant(self.image_mean)
        x = Conv(channels, bias_init=mean, dtype=last_dtype(self.dtype), name="image")(x)
        return x.astype(jnp.float32)


class BEGANEncoder(nn.Module):
    """From an image to its code: maps of ``features``, twice, three times as many channels.

    The second convolution of a size takes every other pixel. Sizes as ``BEGANDecoder``.
    """

    features: int = 64
    latent_dim: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FloatImages) -> Float[Array, "batch latent"]:
        k = halvings(x.shape[1:3], SMALLEST)
        conv = functools.partial(Conv, dtype=self.dtype)
        x = nn.elu(conv(self.features, name="image")(x))
        for i in range(k + 1):
            wider = self.features * min(i + 2, k + 1)
            x = nn.elu(conv(self.features * (i + 1), name=f"conv_{i}_0")(x))
            x = nn.elu(conv(wider, strides=2 if i < k else 1, name=f"conv_{i}_1")(x))
        dense = nn.Dense(self.latent_dim, dtype=last_dtype(self.dtype), name="dense")
        return dense(x.reshape(len(x), -1)).astype(jnp.float32)


class BEGANDiscriminator(nn.Module):
    """The autoencoder: images [B, H, W, C] in [-1, 1] to their reconstructions of the same shape.

    ``latent_dim`` is the size of the code between encoder and decoder; ``image_mean`` is the
    decoder's.
    """

    features: int = 64
    latent_dim: int = 64
    image_mean: float = 0.0
    dtype: DTypeLike = jnp.float32

    n_classes = None

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> FloatImages:
        read_label("discriminator", self.n_classes, cond)
        encoder = BEGANEncoder(self.features, self.latent_dim, self.dtype, name="encoder")
        _, height, width, channels = x.shape
        decoder = BEGANDecoder(
            self.features,
            image_shape=(height, width, channels),
            latent_dim=self.latent_dim,
            image_mean=self.image_mean,
            dtype=self.dtype,
            name="decoder",
        )
        return decoder(encoder(x), train=train)
