"""Generators and discriminators: dense (Goodfellow et al. 2014), convolutional (DCGAN, Radford et
al. 2015), residual (WGAN-GP, Gulrajani et al. 2017).

A generator is called as ``generator(z, cond, train=...)`` with latents [B, latent_dim] and makes
images [B, *image_shape], float32 in [-1, 1]; a discriminator as ``discriminator(x, cond,
train=...)`` with such images, and gives logits [B]. ``cond.label`` [B] is for networks with
``n_classes``: a generator reads it next to z, a discriminator by projection (Miyato & Koyama 2018),
``logit = f(h) + <embedding of the label, h>``. ``ValueError`` is raised for a condition that a
network does not take, or lacks.

Parameters are float32, and ``dtype`` is what a network computes in, all but its last product
(``nn.precision``). Where ``norm`` is ``"batch"``,
the collection ``batch_stats`` is updated in training, with statistics over the devices of the pmap
axis ``axis_name``; where ``spectral`` is set, each call with the collection ``spectral_norm``
mutable takes a step of the power iteration. Neither network draws random numbers.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages, Latents, generator_input, read_label
from gen_jax.adversarial.sizes import halvings, map_sizes
from gen_jax.nn.blocks import (
    LECUN,
    Initializer,
    Norm,
    ResidualBlock,
    Upsampling,
    normalize,
    spectral_norm,
    upsample,
)
from gen_jax.nn.condition import Condition
from gen_jax.nn.conv import Conv
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array, ImageShape, PerExample

NORMAL = nn.initializers.normal(0.02)  # DCGAN's
LEAK = 0.2  # as all discriminators here have, DCGAN's


class DenseGenerator(nn.Module):
    """The first paper's: fully connected layers and ReLUs, for images of any shape."""

    hidden: Sequence[int] = (1200, 1200)
    _: dataclasses.KW_ONLY
    image_shape: ImageShape
    latent_dim: int = 100
    n_classes: int | None = None
    norm: Norm = "none"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Latents, cond: Condition | None = None, *, train: bool = False):
        x = generator_input(self, z, cond)
        shared: Any = {"train": train, "axis_name": self.axis_name, "dtype": self.dtype}
        for i, width in enumerate(self.hidden):
            # Batch normalization takes a bias away again, here and below.
            bias = self.norm != "batch"
            x = nn.Dense(width, use_bias=bias, dtype=self.dtype, name=f"dense_{i}")(x)
            x = nn.relu(normalize(x, self.norm, name=f"norm_{i}", **shared))
        last = nn.Dense(math.prod(self.image_shape), dtype=last_dtype(self.dtype), name="image")
        return jnp.tanh(last(x).astype(jnp.float32)).reshape(-1, *self.image_shape)


class DenseDiscriminator(nn.Module):
    """Fully connected layers and leaky ReLUs, for images of any shape.

    The first paper has maxout units and dropout. A unit of five pieces costs five products where
    this costs one, and dropout makes logits random; DCGAN (section 3) gave up both.
    """

    hidden: Sequence[int] = (240, 240)
    _: dataclasses.KW_ONLY
    n_classes: int | None = None
    norm: Norm = "none"
    spectral: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> PerExample:
        x = x.reshape(x.shape[0], -1)
        shared: Any = {"train": train, "axis_name": self.axis_name, "dtype": self.dtype}
        for i, width in enumerate(self.hidden):
            bias = i == 0 or self.norm != "batch"
            options: Any = {"spectral": self.spectral, "dtype": self.dtype}
            x = dense_layer(x, width, use_bias=bias, name=f"dense_{i}", **options)
            if i > 0:
                x = normalize(x, self.norm, name=f"norm_{i}", **shared)
            x = nn.leaky_relu(x, LEAK)
        return Logit(self.n_classes, self.spectral, name="logit")(x, cond)


class ConvGenerator(nn.Module):
    """DCGAN's: a dense layer makes the smallest map, each layer doubles its sides.

    ``features`` maps before the last layer, twice as many for every halving below. Images of any
    size: sides halve, rounded up, until the smaller is 4 or less (28 pixels: 14, 7, 4).
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    image_shape: ImageShape
    latent_dim: int = 100
    n_classes: int | None = None
    norm: Norm = "batch"
    upsample: Upsampling = "deconv"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Latents, cond: Condition | None = None, *, train: bool = False
    ) -> FloatImages:
        *sides, channels = self.image_shape
        smallest, *sizes = map_sizes(sides)
        maps = [self.features * 2**i for i in reversed(range(len(sizes)))]
        shared: Any = {"use_bias": self.norm != "batch", "kernel_init": NORMAL, "dtype": self.dtype}

        def activated(x: Array, i: int) -> Array:
            options: Any = {"axis_name": self.axis_name, "dtype": self.dtype}
            return nn.relu(normalize(x, self.norm, train=train, name=f"norm_{i}", **options))

        def doubled(x: Array, features: int, size: tuple[int, int], name: str) -> Array:
            x = upsample(x, features, self.upsample, name=name, **shared)
            return x[:, : size[0], : size[1]]  # an odd side is half of an even one, rounded up

        units = math.prod(smallest) * maps[0]
        x = nn.Dense(units, name="dense", **shared)(generator_input(self, z, cond))
        x = activated(x.reshape(-1, *smallest, maps[0]), 0)
        for i, (features, size) in enumerate(zip(maps[1:], sizes[:-1], strict=True), start=1):
            x = activated(doubled(x, features, size, f"up_{i}"), i)
        shared |= {"use_bias": True, "dtype": last_dtype(self.dtype)}
        return jnp.tanh(doubled(x, channels, sizes[-1], "image").astype(jnp.float32))


class ConvDiscriminator(nn.Module):
    """DCGAN's: convolutions of kernel 4 and stride 2, no normalization of the first's output.

    The mirror of ``ConvGenerator``, for the same sizes of images.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    n_classes: int | None = None
    norm: Norm = "batch"
    spectral: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> PerExample:
        x = conv_maps(
            x,
            self.features,
            norm=self.norm,
            spectral=self.spectral,
            axis_name=self.axis_name,
            dtype=self.dtype,
            train=train,
        )
        logit = Logit(self.n_classes, self.spectral, NORMAL, name="logit")
        return logit(x, cond)


class ResidualGenerator(nn.Module):
    """WGAN-GP's (appendix F): residual blocks, each doubles the sides. Sizes as ``ConvGenerator``.

    With 128 features it is the paper's for CIFAR-10.
    """

    features: int = 128
    _: dataclasses.KW_ONLY
    image_shape: ImageShape
    latent_dim: int = 128
    n_classes: int | None = None
    norm: Norm = "batch"
    upsample: Upsampling = "resize"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Latents, cond: Condition | None = None, *, train: bool = False
    ) -> FloatImages:
        height, width, channels = self.image_shape
        k = halvings((height, width))
        shared: Any = {"norm": self.norm, "axis_name": self.axis_name, "dtype": self.dtype}
        smallest = (height >> k, width >> k, self.features)
        dense = nn.Dense(math.prod(smallest), dtype=self.dtype, name="dense")
        x = dense(generator_input(self, z, cond)).reshape(-1, *smallest)
        for i in range(k):
            block = functools.partial(ResidualBlock, resample="up", upsample=self.upsample)
            x = block(self.features, name=f"block_{i}", **shared)(x, train=train)
        x = nn.relu(normalize(x, train=train, name="norm_last", **shared))
        x = Conv(channels, (3, 3), dtype=last_dtype(self.dtype), name="image")(x)
        return jnp.tanh(x.astype(jnp.float32))


class ResidualDiscriminator(nn.Module):
    """WGAN-GP's critic (appendix F): residual blocks down to 8 or 7 pixels, two more, their mean.

    Layer normalization is what section 4 recommends, since a penalty on each image's gradient
    makes no sense where batch normalization ties images together; the paper's critic for CIFAR-10
    has none (``norm="none"``). Sizes as ``ConvGenerator``.
    """

    features: int = 128
    _: dataclasses.KW_ONLY
    n_classes: int | None = None
    norm: Norm = "layer"
    spectral: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> PerExample:
        k = halvings(x.shape[1:3], (8, 7, 4))
        for i in range(k + 2):
            x = ResidualBlock(
                self.features,
                resample="down" if i < k else None,
                activate=i > 0,
                norm=self.norm,
                spectral=self.spectral,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, train=train)
        x = nn.relu(x).mean((1, 2))
        return Logit(self.n_classes, self.spectral, name="logit")(x, cond)


# What they share


def conv_maps(
    x: FloatImages,
    features: int,
    *,
    norm: Norm,
    spectral: bool = False,
    axis_name: str | None,
    dtype: DTypeLike,
    train: bool,
) -> Float[Array, "batch height width c"]:
    """DCGAN's smallest maps of images: convolutions of kernel 4 and stride 2, leaky ReLUs.

    ``features`` maps, and twice as many for every halving after the first, whose output is not
    normalized. The layers are of the module that calls this within its compact method.
    """
    for i in range(len(map_sizes(x.shape[1:3])) - 1):
        x = Conv(
            features * 2**i,
            (4, 4),
            strides=2,
            use_bias=i == 0 or norm != "batch",
            kernel_init=NORMAL,
            kernel_norm=spectral_norm(spectral),
            dtype=dtype,
            name=f"conv_{i}",
        )(x)
        if i > 0:
            options: Any = {"axis_name": axis_name, "dtype": dtype}
            x = normalize(x, norm, train=train, name=f"norm_{i}", **options)
        x = nn.leaky_relu(x, LEAK)
    return x


class Logit(nn.Module):
    """The logit of features [B, *space, C], plus the projection of their mean over space.

    Both are last products: they read the features as float32, whatever made them.
    """

    n_classes: int | None
    spectral: bool
    kernel_init: Initializer = LECUN

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space c"], cond: Condition | None) -> PerExample:
        label = read_label("discriminator", self.n_classes, cond)
        x = x.astype(last_dtype(x.dtype))
        dense = functools.partial(dense_layer, spectral=self.spectral, dtype=x.dtype)
        flat = x.reshape(x.shape[0], -1)
        logit = dense(flat, 1, kernel_init=self.kernel_init, name="dense").astype(jnp.float32)[:, 0]
        if label is not None and self.n_classes is not None:
            mean = x.reshape(x.shape[0], -1, x.shape[-1]).mean(1)
            one_hot = jax.nn.one_hot(label, self.n_classes)
            embedded = dense(one_hot, x.shape[-1], use_bias=False, name="embedding")
            logit = logit + (embedded * mean).astype(jnp.float32).sum(-1)
        return logit


def dense_layer(
    x: Float[Array, "batch c_in"], features: int, *, spectral: bool, **options: Any
) -> Float[Array, "batch features"]:
    """A dense layer of the calling module whose kernel may be normalized: a 1-pixel convolution."""
    layer = Conv(features, (1,), kernel_norm=spectral_norm(spectral), **options)
    return layer(x[:, None])[:, 0]
