"""Densities: what a network's raw outputs mean as a distribution over images or sound."""

from gen_jax.densities.distributions import (
    Bernoulli,
    Categorical,
    Gaussian,
    Likelihood,
    bits_per_dim,
    gaussian_kl,
    gaussian_log_prob,
)
from gen_jax.densities.levels import Linear, MuLaw, Pixels
from gen_jax.densities.logistic_mixture import LogisticMixture
from gen_jax.densities.sequential import Given, Sequential

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Given",
    "Likelihood",
    "Linear",
    "LogisticMixture",
    "MuLaw",
    "Pixels",
    "Sequential",
    "bits_per_dim",
    "gaussian_kl",
    "gaussian_log_prob",
]
