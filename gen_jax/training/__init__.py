"""Training: compiled steps over devices, the loop, exact checkpoints, and the run folder."""

from gen_jax.files import RunError
from gen_jax.training.arrays import params_digest
from gen_jax.training.checkpoint import restore, saved_metrics
from gen_jax.training.config import applies, without_idle
from gen_jax.training.devices import (
    check_platform,
    cores_for,
    set_cpu_devices,
    split_cpu,
)
from gen_jax.training.environment import environment
from gen_jax.training.evaluating import CompiledEval, compile_eval
from gen_jax.training.loop import FitResult, fit
from gen_jax.training.once import compile_once
from gen_jax.training.run import (
    DataStatus,
    Run,
    experiment_of,
    load_config,
    load_data,
    open_run,
    read_summary,
)
from gen_jax.training.sharding import (
    CompiledStep,
    compile_step,
    local_copy,
    local_mesh,
    make_mesh,
)
from gen_jax.training.signals import Interrupted
from gen_jax.training.stacks import BatchSource

__all__ = [
    "BatchSource",
    "CompiledEval",
    "CompiledStep",
    "DataStatus",
    "FitResult",
    "Interrupted",
    "Run",
    "RunError",
    "applies",
    "check_platform",
    "compile_eval",
    "compile_once",
    "compile_step",
    "cores_for",
    "environment",
    "experiment_of",
    "fit",
    "load_config",
    "load_data",
    "local_copy",
    "local_mesh",
    "make_mesh",
    "open_run",
    "params_digest",
    "read_summary",
    "restore",
    "saved_metrics",
    "set_cpu_devices",
    "split_cpu",
    "without_idle",
]
