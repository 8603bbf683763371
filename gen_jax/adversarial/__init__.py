"""Adversarial models: a generator and a discriminator that play against one another."""

from gen_jax.adversarial import (
    began,
    cyclegan,
    gan,
    joint_embedding,
    losses,
    networks,
    pix2pix,
    queries,
    style,
    text_to_image,
)
from gen_jax.adversarial.joint_embedding import ImageEncoder, JointEmbedding
from gen_jax.adversarial.networks import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
    ResidualDiscriminator,
    ResidualGenerator,
)
from gen_jax.adversarial.patch_discriminator import PatchDiscriminator
from gen_jax.adversarial.queries import arithmetic, generate, interpolation, latents, sample
from gen_jax.adversarial.style import StyleEncoder
from gen_jax.adversarial.text_networks import TextDiscriminator, TextGenerator
from gen_jax.adversarial.translation_networks import ResNetGenerator, UNetGenerator

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
