"""Encoders and decoders that the autoencoder and the VAE are built from.

An encoder turns float images ``[B, H, W, C]`` into features ``[B, F]``; a decoder is called as
``decoder(z, shape=(H, W, C_out))``. Parameters are float32, ``dtype`` is what the network
computes in, all but a decoder's last product (``nn.precision``), and what comes out is float32
again, so that heads and losses never see less. A decoder's ``bias`` has an element for each output
of the image: a start from the mean image.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array, ImageShape

Activation = Callable[[Array], Array]


class DenseEncoder(nn.Module):
    """Fully connected layers over the flattened image (Kingma & Welling 2013, appendix C)."""

    hidden: Sequence[int] = (200, 200)
    activation: Activation = nn.tanh
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        x = image.reshape(image.shape[0], -1)
        for width in self.hidden:
            x = self.activation(nn.Dense(width, dtype=self.dtype)(x))
        return x.astype(jnp.float32)


class DenseDecoder(nn.Module):
    """Fully connected layers from a latent to every output of the image."""

    hidden: Sequence[int] = (200, 200)
    activation: Activation = nn.tanh
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], *, shape: ImageShape
    ) -> Float[Array, "batch height width outputs"]:
        for width in self.hidden:
            z = self.activation(nn.Dense(width, dtype=self.dtype)(z))
        x = nn.Dense(math.prod(shape), use_bias=False, dtype=last_dtype(self.dtype))(z)
        bias = self.param("bias", nn.initializers.zeros, shape)
        # Added while flat, so that on CPUs the sum over pixels can join the product in one loop.
        x = x.astype(jnp.float32) + bias.reshape(1, -1)
        return x.reshape(-1, *shape)


class ConvEncoder(nn.Module):
    """Convolutions of kernel 4 and stride 2; each halves the sides, rounding up."""

    features: Sequence[int] = (32, 64)
    activation: Activation = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        x = image
        for features in self.features:
            x = self.activation(Conv(features, (4, 4), strides=2, dtype=self.dtype)(x))
        return x.reshape(x.shape[0], -1).astype(jnp.float32)


class ConvDecoder(nn.Module):
    """The mirror of ``ConvEncoder(reversed(features))``, for images of any height and width.

    A dense layer makes the smallest map, with ``features[0]`` channels; each transposed
    convolution doubles its sides and is cropped to what the encoder's stage of that size had.
    """

    features: Sequence[int] = (64, 32)
    activation: Activation = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], *, shape: ImageShape
    ) -> Float[Array, "batch height width outputs"]:
        height, width, outputs = shape
        stages = range(len(self.features) - 1, -1, -1)
        sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in stages]  # what comes out of each
        smallest = (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2), self.features[0])
        x = nn.Dense(smallest[0] * smallest[1] * smallest[2], dtype=self.dtype)(z)
        x = self.activation(x).reshape(-1, *smallest)
        for features, (rows, columns) in zip(self.features[1:], sizes[:-1], strict=True):
            x = ConvTranspose(features, (4, 4), strides=2, dtype=self.dtype)(x)
            x = self.activation(x[:, :rows, :columns])
        last = {"use_bias": False, "dtype": last_dtype(self.dtype)}
        x = ConvTranspose(outputs, (4, 4), strides=2, **last)(x)
        bias = self.param("bias", nn.initializers.zeros, shape)
        x = x[:, :height, :width].astype(jnp.float32)
        # Added while flat: on CPUs the bias gradient's sum over the batch is several times faster.
        return (x.reshape(x.shape[0], -1) + bias.reshape(1, -1)).reshape(x.shape)
