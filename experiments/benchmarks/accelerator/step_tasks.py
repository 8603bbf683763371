"""Training steps in both dtypes, and their PyTorch twins."""

import time
from collections.abc import Mapping
from typing import Any

import jax

from experiments.benchmarks.accelerator.options import Options
from experiments.benchmarks.accelerator.tasks import Task
from experiments.benchmarks.arithmetic import product_flops
from experiments.benchmarks.peers import Twins
from experiments.benchmarks.steps import Stepping, twin_run
from experiments.benchmarks.timing import alternate
from experiments.benchmarks.training_cases import TWINLESS, Case, cases
from gen_jax import training

STEPS_PER_DISPATCH = 20  # on an accelerator, where a call costs as much as a small step
SMALL = {"dense-vae"}  # of the smoke run


def step_tasks(options: Options) -> list[Task]:
    """Each model's step, in float32 and in bfloat16."""
    known = some_cases(options)
    dtypes = "float32", "bfloat16"
    return [step_task(name, case, dtype) for name, case in known.items() for dtype in dtypes]


def twin_tasks(options: Options) -> list[Task]:
    """Each model's twin: eager, then compiled, which takes PyTorch long."""
    known = {name: case for name, case in some_cases(options).items() if name not in TWINLESS}
    ways = (False,) if options.small else (False, True)
    return [twin_task(name, case, way) for way in ways for name, case in known.items()]


def some_cases(options: Options) -> dict[str, Case]:
    """The models that are measured."""
    known = cases(options.small)
    return {name: case for name, case in known.items() if not options.small or name in SMALL}


def steps_per_dispatch(case: Case) -> int:
    """How many steps a call has: on the CPU as few as the case says."""
    return case.steps_per_dispatch if jax.default_backend() == "cpu" else STEPS_PER_DISPATCH


def step_task(name: str, case: Case, dtype: str) -> Task:
    """A model's step as ``fit`` compiles it, on one device."""

    def measure(seconds: float) -> Mapping[str, Any]:
        mesh = training.make_mesh(jax.devices()[:1])
        k = steps_per_dispatch(case)
        step = training.compile_step(case.train_step, mesh, steps_per_dispatch=k)
        ours = Stepping.of(case, dtype, step)
        (dispatch_s,) = alternate([ours.run], seconds)
        flops = product_flops(case.train_step, ours.state, ours.batches.batch_at(0))
        return {
            "batch": case.batch_size,
            "shape": list(case.shape),
            "n_params": ours.n_params,
            "steps_per_dispatch": ours.steps,
            "examples_per_s": ours.n_examples / dispatch_s,
            "step_ms": 1e3 * dispatch_s / ours.steps,
            "flops": flops,
            "flops_per_s": flops * ours.steps / dispatch_s,
            "compile_s": ours.first_s - dispatch_s,
        }

    return Task("steps", {"model": name, "dtype": dtype}, measure)


def twin_task(name: str, case: Case, compiled: bool) -> Task:
    """A model's twin in PyTorch, in float32."""

    def measure(seconds: float) -> Mapping[str, Any]:
        import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere

        how, k = Twins.here(compiled=compiled), steps_per_dispatch(case)
        run = twin_run(name, case, case.batches(k), how)
        start = time.perf_counter()
        run()
        first_s = time.perf_counter() - start
        (dispatch_s,) = alternate([run], seconds)
        return {
            "batch": case.batch_size,
            "shape": list(case.shape),
            "device": how.device,
            "torch": torch.__version__,
            "examples_per_s": k * case.batch_size / dispatch_s,
            "step_ms": 1e3 * dispatch_s / k,
            "compile_s": first_s - dispatch_s,
        }

    return Task("twins", {"model": name, "twin": "compiled" if compiled else "eager"}, measure)
