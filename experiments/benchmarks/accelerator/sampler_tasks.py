"""The samplers, each beside one pass of its network over as many images."""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from experiments.benchmarks.accelerator.kernels import launches
from experiments.benchmarks.accelerator.options import Options, Part
from experiments.benchmarks.accelerator.tasks import Row, Rows, Task
from experiments.benchmarks.peers import count_parameters
from experiments.benchmarks.samplers import (
    forward_program,
    naive_stop,
    sampling_programs,
    trained,
)
from experiments.benchmarks.sampling_cases import Case, Model, make_case
from experiments.benchmarks.sampling_cases import Options as CaseOptions
from experiments.benchmarks.timing import alternate

HEADLINE = "gated-7x32"
OTHERS = [name for name in get_args(Model) if name not in (HEADLINE, "gated-side")]
TRAINED = "gated-trained"  # the headline's network, for Jacobi: passes depend on what was learned
TRAIN_STEPS = 200


def headline_tasks(options: Options) -> Iterator[Task]:
    """The headline's network by every method, also in bfloat16."""
    beside, slow = ("cached", "forward"), ("naive", "jacobi")
    kinds = [(beside, "float32"), (beside, "bfloat16"), (slow, "float32")]
    for methods, dtype in kinds[:: 2 if options.small else 1]:
        for batch, method in itertools.product(options.batch, methods):
            yield sampler_task("headline", HEADLINE, method, batch, dtype, small=options.small)


def other_tasks(options: Options) -> Iterator[Task]:
    """All others: each network's cached sampling beside one pass, then the slower methods."""
    names = ("wavenet",) if options.small else OTHERS
    kinds: list[tuple[str, tuple[str, ...]]] = []
    kinds += [(name, ("cached", "forward")) for name in names if name != TRAINED]
    for name in names:
        slow = ("naive", "jacobi") if name == "masked-7x64" else ("naive",)
        kinds.append((name, ("jacobi", "forward") if name == TRAINED else slow))
    for (model, methods), batch in itertools.product(kinds, options.batch):
        for method in methods:
            yield sampler_task("samplers", model, method, batch, "float32", small=options.small)


@functools.lru_cache(maxsize=2)  # a model's tasks stand together
def started(model: str, dtype: Any, small: bool) -> tuple[Case, Any]:
    """A network, and parameters to draw with."""
    case = make_case(model, CaseOptions(small=small, size=6 if small else None, dtype=dtype))
    return case, trained(case, TRAIN_STEPS) if model == TRAINED else case.start().params


def sampler_task(
    part: Part, model: str, method: Any, batch: int, dtype: str, *, small: bool
) -> Task:
    """A sampler, or ``forward``: one pass of the network.

    ``run_s`` is a run's time; of ``naive`` it draws ``naive_positions`` only, and ``seconds`` are
    scaled to all.
    """
    about = {"model": model, "method": method, "batch": batch, "dtype": dtype}

    def measure(seconds: float) -> Mapping[str, Any]:
        case, params = started(model, dtype, small)
        if method == "forward":
            program = forward_program(case, batch, params)
        else:
            (program,) = sampling_programs(
                case, batch, params, CaseOptions(method=(method,))
            ).values()
        last: Row = {}

        def run() -> None:
            last["result"] = program.run()

        (run_s,) = alternate([run], seconds)
        units = naive_stop(case) if method == "naive" else case.units
        row = {
            "shape": list(case.shape),
            "n_params": count_parameters(params),
            "run_s": run_s,
            "seconds": run_s * case.units / units,
            "images_per_s": batch / run_s * units / case.units,
            "kernels": launches(program.text()),
            "peak_bytes": program.peak_bytes,
            "compile_s": program.compile_s,
        }
        if method != "forward":
            row["passes"] = int(last["result"].passes)
            pixels = math.prod(case.shape[:-1]) * units / case.units
            row["kernels_per_pixel"] = row["kernels"] and row["kernels"] / pixels
        if method == "naive":
            row["naive_positions"] = units
        return row

    def likely_s(rows: Rows) -> float:
        """A run to warm up and one more, by the largest batch below that was measured."""
        alike = {name: value for name, value in about.items() if name != "batch"}
        below = [
            row
            for row in rows.values()
            if "run_s" in row and row["batch"] < batch and row.items() >= alike.items()
        ]
        if not below:
            return 0.0
        nearest = max(below, key=lambda row: row["batch"])
        return 2.0 * nearest["run_s"] * batch / nearest["batch"]

    return Task(part, about, measure, likely_s)
