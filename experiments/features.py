"""What a linear classifier reads off images with 10, 100 or 1,000 labels, feature by feature.

python -m experiments.features

Raw pixels, principal components, distances to k-means centroids, and the codes of an autoencoder
and of a VAE; all of them are fitted to the same images without labels. The two networks are
trained as runs of their own, in folders of the run's (``autoencoder/``, ``vae/``).
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import autoencoder, runs, vae
from experiments.config import DataConfig, UsageError, dashed, free
from experiments.harness import Experiment, Splits, load_splits, main, read_summary, run, say
from experiments.study import Findings, Study, run_study
from gen_jax import data, evaluation, images, latent, reporting
from gen_jax.classical import kmeans, pca
from gen_jax.latent import autoencoder as plain
from gen_jax.reporting import plots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DataConfig):
    """Compare features by the accuracy of a linear probe with few labels."""

    n_labels: tuple[int, ...] = (10, 100, 1000)
    """How many labels the probe sees; each a multiple of the number of classes."""
    draws: int = 10
    """Random choices of the labelled images; the table has their mean and deviation."""
    code_dim: int = 50
    """Principal components, and units of the two codes."""
    clusters: int = 200
    """Centroids of k-means."""
    hidden: tuple[int, ...] = (400, 400)
    """Units of the networks' dense layers."""
    epochs: float = 60.0
    """Passes of the networks over the training images."""
    max_images: int | None = free(None)

    def __post_init__(self):
        for name in ("draws", "code_dim", "clusters"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{dashed(name)} must be 1 or more, got {getattr(self, name)}")


PRESETS = {
    "smoke": Config(n_labels=(10, 50), draws=2, code_dim=8, clusters=16, hidden=(64,), epochs=0.5),
    "default": Config(),
    "paper": Config(dataset="tfds:mnist", epochs=200.0, clusters=1000),
}
