"""Autoregressive models: exact likelihoods, and samplers that are exact and fast."""

from gen_jax.autoregressive.gated_pixelcnn import GatedPixelCNN
from gen_jax.autoregressive.network import Network
from gen_jax.autoregressive.objective import eval_step, init, log_prob, observe, train_step
from gen_jax.autoregressive.sampling import Evidence, Sampled, sample, sample_counted
from gen_jax.nn.causal import Condition

__all__ = [
    "Condition",
    "Evidence",
    "GatedPixelCNN",
    "Network",
    "Sampled",
    "eval_step",
    "init",
    "log_prob",
    "observe",
    "sample",
    "sample_counted",
    "train_step",
]
