"""A model's training step as the benchmarks run it: compiled, several steps in a dispatch."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax

from experiments.benchmarks.examples import Batches
from experiments.benchmarks.peers import Twins, count_parameters
from experiments.benchmarks.training_cases import Case
from experiments.running.fitting import State
from gen_jax import training


@dataclasses.dataclass(frozen=True)
class Stepping:
    """A case's compiled step: ``run`` is one dispatch of ``steps`` updates and waits for it.

    ``state`` is the one before the first step, ``batches`` are what it trains on, and ``first_s``
    is what the first dispatch took, compilation included.
    """

    run: Callable[[], None]
    steps: int
    n_examples: int  # of a dispatch
    n_params: int
    state: State
    batches: Batches
    first_s: float

    @classmethod
    def of(cls, case: Case, dtype: str, step: training.CompiledStep) -> "Stepping":
        """Runs the step once, which compiles it."""
        state = case.state(dtype)
        stack = step.gather(case.batches(step.steps_per_dispatch), 0, step.steps_per_dispatch)
        k = step.length(stack)  # fewer where they would take more memory than a dispatch may
        run = repeated(step, state, stack)
        start = time.perf_counter()
        run()
        first_s = time.perf_counter() - start
        n_params = count_parameters(state.params)
        return cls(run, k, k * case.batch_size, n_params, state, case.batches(k), first_s)


def repeated(step: training.CompiledStep, state: State, stack: Any) -> Callable[[], None]:
    """A function that runs one dispatch, from the state of the last one, and waits for it."""
    n = step.length(stack)
    box = [step.place(state)]

    def run() -> None:
        box[0], metrics = step(box[0], stack, n)
        jax.block_until_ready((box[0].step, metrics))

    return run


def twin_run(name: str, case: Case, batches: Batches, how: Twins) -> Callable[[], None]:
    """A function that trains the case's twin on the batches.

    Raises ``RuntimeError`` where it has another number of parameters than our network.
    """
    run, n_twin = case.peer(batches.examples, how)
    params = jax.eval_shape(lambda: case.state("float32")).params
    n_ours = count_parameters(params)
    if n_twin != n_ours:
        raise RuntimeError(f"{name}: the twin has {n_twin} parameters, ours {n_ours}")
    return run
