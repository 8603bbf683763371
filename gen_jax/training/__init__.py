"""Training: compiled steps over devices, the loop, exact checkpoints, and the run folder."""

from gen_jax.files import RunError
from gen_jax.training.arrays import params_digest
from gen_jax.training.checkpoint import restore, saved_metrics
from gen_jax.training.config import applicable, applies
from gen_jax.training.loop import FitResult, fit
from gen_jax.training.run import (
    Run,
    environment,
    experiment_of,
    load_config,
    load_data,
    open_run,
)
from gen_jax.training.sharding import BatchSource, CompiledStep, compile_step, local_copy, make_mesh
from gen_jax.training.signals import Interrupted

__all__ = [
    "BatchSource",
    "CompiledStep",
    "FitResult",
    "Interrupted",
    "Run",
    "RunError",
    "applicable",
    "applies",
    "compile_step",
    "environment",
    "experiment_of",
    "fit",
    "load_config",
    "load_data",
    "local_copy",
    "make_mesh",
    "open_run",
    "params_digest",
    "restore",
    "saved_metrics",
]
