"""Networks for text to image: a generator and a discriminator of images and embedded texts.

Reed et al. 2016 (1605.05396), section 4.1 and figure 2, over DCGAN's convolutions: each network
brings an embedding φ(t), ``cond.vector`` [B, D], down to a few numbers (the paper's 128) by a layer
of its own. The generator reads them beside its latents. The discriminator, where its maps are
smallest, sees them at each place beside what the image gives. The authors' code (reedscot/icml2016)
adds residual blocks at the smallest maps and batch normalization of the discriminator's text, which
the paper does not name.

Both are called as those of ``adversarial.networks`` are, for images of the same sizes.
``ValueError`` is raised for any other condition.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_jax.adversarial.inputs import FloatImages, Latents, check_latents, read_text
from gen_jax.adversarial.networks import (
    LEAK,
    NORMAL,
    ConvGenerator,
    Logit,
    conv_maps,
)
from gen_jax.nn.blocks import Norm, Upsampling, normalize, spectral_norm
from gen_jax.nn.condition import Condition
from gen_jax.nn.conv import Conv
from gen_jax.typing import Array, ImageShape, PerExample


class TextGenerator(nn.Module):
    """The deconvolutional one: a ``ConvGenerator`` of latents and the text's numbers.

    With ``features=128`` and 64 pixels it is the paper's.
    """

    features: int = 128
    _: dataclasses.KW_ONLY
    image_shape: ImageShape
    latent_dim: int = 100
    text_dim: int = 128
    norm: Norm = "batch"
    upsample: Upsampling = "deconv"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Latents, cond: Condition | None = None, *, train: bool = False
    ) -> FloatImages:
        check_latents(z, self.latent_dim)
        text = _reduced("generator", cond, self.text_dim, self.dtype)
        images = ConvGenerator(
            self.features,
            image_shape=self.image_shape,
            latent_dim=self.latent_dim + self.text_dim,
            norm=self.norm,
            upsample=self.upsample,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name="images",
        )
        return images(jnp.concatenate([z, text.astype(z.dtype)], axis=-1), train=train)


class TextDiscriminator(nn.Module):
    """Convolutions to the smallest maps, the text beside them, a convolution of one pixel, a logit.

    The last product is of whole maps, the paper's 4×4 convolution for its images of 64 pixels.
    """

    features: int = 64
    _: dataclasses.KW_ONLY
    text_dim: int = 128
    norm: Norm = "batch"
    spectral: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: FloatImages, cond: Condition | None = None, *, train: bool = False
    ) -> PerExample:
        text = _reduced("discriminator", cond, self.text_dim, self.dtype, spectral=self.spectral)
        shared: Any = {"train": train, "axis_name": self.axis_name, "dtype": self.dtype}
        x = conv_maps(x, self.features, norm=self.norm, spectral=self.spectral, **shared)
        everywhere = jnp.broadcast_to(text[:, None, None], (*x.shape[:3], self.text_dim))
        x = Conv(
            x.shape[-1],
            (1, 1),
            use_bias=self.norm != "batch",
            kernel_init=NORMAL,
            kernel_norm=spectral_norm(self.spectral),
            dtype=self.dtype,
            name="joint",
        )(jnp.concatenate([x, everywhere], axis=-1))
        x = normalize(x, self.norm, name="joint_norm", **shared)
        return Logit(None, self.spectral, NORMAL, name="logit")(nn.leaky_relu(x, LEAK), None)


def _reduced(
    who: str, cond: Condition | None, size: int, dtype: DTypeLike, *, spectral: bool = False
) -> Float[Array, "batch size"]:
    """A text's embedding brought down to ``size`` numbers, by a layer of the calling module."""
    layer = Conv(size, (1,), kernel_norm=spectral_norm(spectral), dtype=dtype, name="text")
    return nn.leaky_relu(layer(read_text(who, cond)[:, None])[:, 0], LEAK)
