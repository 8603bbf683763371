"""Autoregressive models: exact likelihoods, and samplers that are exact and fast."""

from gen_jax.autoregressive.audit import (
    CausalityError,
    CausalityReport,
    check_causality,
    check_normalized,
)
from gen_jax.autoregressive.gated_pixelcnn import GatedPixelCNN
from gen_jax.autoregressive.network import Network
from gen_jax.autoregressive.objective import eval_step, init, log_prob, observe, train_step
from gen_jax.autoregressive.pixelcnn import PixelCNN
from gen_jax.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from gen_jax.autoregressive.pixelrnn import DiagonalBiLSTM, RowLSTM
from gen_jax.autoregressive.sampling import Evidence, Sampled, sample, sample_counted
from gen_jax.autoregressive.wavenet import WaveNet
from gen_jax.nn.condition import Condition
from gen_jax.nn.encoders import IteratedEncoder, ResidualEncoder, UNetEncoder

__all__ = [
    "CausalityError",
    "CausalityReport",
    "Condition",
    "DiagonalBiLSTM",
    "Evidence",
    "GatedPixelCNN",
    "IteratedEncoder",
    "Network",
    "PixelCNN",
    "PixelCNNPlusPlus",
    "ResidualEncoder",
    "RowLSTM",
    "Sampled",
    "UNetEncoder",
    "WaveNet",
    "check_causality",
    "check_normalized",
    "eval_step",
    "init",
    "log_prob",
    "observe",
    "sample",
    "sample_counted",
    "train_step",
]
