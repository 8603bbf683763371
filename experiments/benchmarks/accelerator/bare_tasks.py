"""The bare speed of the device, with which everything else is compared."""

from collections.abc import Mapping
from typing import Any

import jax

from experiments.benchmarks.accelerator.tasks import Task
from experiments.benchmarks.bare import copy_speed, product_error, product_speed


def bare_tasks(*, small: bool) -> list[Task]:
    """Products, the default's before those in full float32, and memory."""
    products = [("bfloat16", "default"), ("float32", "default"), ("float32", "highest")]
    return [*(product_task(*kind, small=small) for kind in products), copy_task(small=small)]


def product_task(dtype: str, precision: str, *, small: bool) -> Task:
    """A matrix product. Its error shows what the device's default precision is: products of float32
    may round their inputs to TF32 on GPUs, to bfloat16 on TPUs."""
    fast = jax.default_backend() != "cpu"
    side, chain = (64, 2) if small else (8192, 10) if fast else (2048, 2)
    asked = None if precision == "default" else precision

    def measure(seconds: float) -> Mapping[str, Any]:
        error = product_error(dtype, 64 if small else 1024, precision=asked)
        speed, compile_s = product_speed(seconds, dtype, side, chain=chain, precision=asked)
        return {
            "flops_per_s": speed,
            "side": side,
            "relative_error": error,
            "found": "float32" if error < 1e-5 else "TF32" if error < 1e-3 else "bfloat16",
            "compile_s": compile_s,
        }

    return Task("bare", {"measure": "product", "dtype": dtype, "precision": precision}, measure)


def copy_task(*, small: bool) -> Task:
    """Memory that is read and written."""
    size = 2**16 if small else 2**30 if jax.default_backend() != "cpu" else 2**27

    def measure(seconds: float) -> Mapping[str, Any]:
        speed, compile_s = copy_speed(seconds, size, chain=10)
        return {"bytes_per_s": speed, "bytes": size, "compile_s": compile_s}

    return Task("bare", {"measure": "copy", "dtype": "float32"}, measure)
