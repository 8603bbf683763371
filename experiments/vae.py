"""Variational autoencoder: bound, likelihood, and what the latent space looks like.

    python -m experiments.vae                        # a 2-D latent, with its manifold
    python -m experiments.vae --dataset faces-mini   # 100 small faces, every latent traversed
    python -m experiments.vae paper --dataset tfds:mnist --data-dir DIR --epochs 30
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import RunConfig, UsageError, free
from experiments.harness import Experiment, Setup, Splits, main, run
from gen_jax import data, distributions, evaluation, images, reporting
from gen_jax.latent import networks, vae
from gen_jax.reporting import plots
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train and evaluate a variational autoencoder."""

    latent_dim: int = 2
    network: Literal["dense", "conv"] = "dense"
    hidden: tuple[int, ...] = (200, 200)
    """Units of each dense layer."""
    features: tuple[int, ...] = (32, 64)
    """Channels of each stride-2 convolution."""
    likelihood: Literal["bernoulli", "gaussian", "categorical"] = "bernoulli"
    binarization: Literal["dynamic", "threshold"] = "dynamic"
    """How a Bernoulli likelihood sees gray pixels."""
    beta: float = 1.0
    """Weight of the KL term."""
    importance_samples: int = 1
    """Above 1, trains the importance-weighted bound with so many samples."""
    schedule: Literal["constant", "paper"] = "constant"
    """paper: the rate falls by 10^(-1/7) after 1, 3, 9, ... epochs more (Burda 2015)."""
    nll_samples: int = free(5000)
    """Importance samples an image for the likelihood."""
    nll_images: int | None = free(None)
    """Test images that the likelihood is measured on: the first so many; default all."""
