"""Latent-variable models: the autoencoder and the variational autoencoder.

The VAE's functions stand here; the autoencoder's are in ``latent.autoencoder``.
"""

from gen_jax.interpolation import linear, spherical
from gen_jax.latent import autoencoder, networks, queries, vae
from gen_jax.latent.autoencoder import Autoencoder
from gen_jax.latent.networks import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.latent.queries import (
    decode,
    encode,
    interpolation,
    manifold,
    posterior_grid,
    sample,
    traversals,
)
from gen_jax.latent.vae import (
    VAE,
    Bound,
    elbo,
    eval_step,
    init,
    iwae_bound,
    log_weights,
    observe,
    train_step,
)

__all__ = [
    "VAE",
    "Autoencoder",
    "Bound",
    "ConvDecoder",
    "ConvEncoder",
    "DenseDecoder",
    "DenseEncoder",
    "autoencoder",
    "decode",
    "elbo",
    "encode",
    "eval_step",
    "init",
    "interpolation",
    "iwae_bound",
    "linear",
    "log_weights",
    "manifold",
    "networks",
    "observe",
    "posterior_grid",
    "queries",
    "sample",
    "spherical",
    "train_step",
    "traversals",
    "vae",
]
