"""Adversarial models: a generator and a discriminator that play against one another."""

from gen_jax.adversarial import began, gan, losses, networks, queries
from gen_jax.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)
from gen_jax.adversarial.queries import arithmetic, generate, interpolation, latents, sample
from gen_jax.adversarial.text import joint_embedding, style, text_to_image
from gen_jax.adversarial.text.joint_embedding import ImageEncoder, JointEmbedding
from gen_jax.adversarial.text.networks import TextDiscriminator, TextGenerator
from gen_jax.adversarial.text.style import StyleEncoder
from gen_jax.adversarial.translation import cyclegan, pix2pix
from gen_jax.adversarial.translation.networks import ResNetGenerator, UNetGenerator
from gen_jax.adversarial.translation.patch_discriminator import PatchDiscriminator

__all__ = [
    "ConvDiscriminator",
    "ConvGenerator",
    "DenseDiscriminator",
    "DenseGenerator",
    "ImageEncoder",
    "JointEmbedding",
    "PatchDiscriminator",
    "ResNetGenerator",
    "ResidualDiscriminator",
    "ResidualGenerator",
    "StyleEncoder",
    "TextDiscriminator",
    "TextGenerator",
    "UNetGenerator",
    "arithmetic",
    "began",
    "cyclegan",
    "gan",
    "generate",
    "interpolation",
    "joint_embedding",
    "latents",
    "losses",
    "networks",
    "pix2pix",
    "queries",
    "sample",
    "style",
    "text_to_image",
]
