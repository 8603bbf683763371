"""A study: an experiment without a training loop of its own, from command line to report.

It shares everything else with the runs of ``harness``: the options for data, the run folder with
its config and environment, the summary, and the page.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.running.config import DataConfig, parse
from experiments.running.harness import (
    default_run_dir,
    read_summary,
    refresh_report,
    result_line,
    say,
)
from gen_jax import reporting, training
from gen_jax.typing import Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study's summary says: ``params`` are what it fitted, ``steps`` how often it updated
    them, ``examples_per_s`` how fast."""

    params: Params
    steps: int
    examples_per_s: float
    metrics: Mapping[str, float | int | str]


@dataclasses.dataclass(frozen=True)
class Study:
    """One study's name, presets, and ``work(config, run_dir) -> Findings``."""

    name: str
    description: str | None
    presets: Mapping[str, DataConfig]
    work: Callable[[Any, Path], Findings]


def run_study(study: Study, argv: Sequence[str] | None = None) -> Path:
    """Does a study as the command line says; returns the run's folder.

    Raises ``UsageError``, ``data.DataError`` or ``training.RunError``, each with one line for the
    user.
    """
    preset, config = parse(
        study.presets,
        argv,
        prog=f"python -m experiments.{study.name}",
        description=study.description,
    )
    start = time.perf_counter()
    run_dir = config.run_dir or default_run_dir(study.name, preset, config, study.presets[preset])
    with training.open_run(run_dir, experiment=study.name, preset=preset, config=config) as opened:
        done = read_summary(run_dir)
        if done is not None:
            say(f"Nothing left to do: {run_dir} has its results.")
            refresh_report(opened, run_dir)
            say(result_line(done, run_dir))
            return run_dir
        findings = study.work(config, run_dir)
        summary = opened.write_summary(
            dataset=config.dataset,
            params=findings.params,
            steps=findings.steps,
            wall_s=time.perf_counter() - start,
            examples_per_s=findings.examples_per_s,
            metrics=findings.metrics,
        )
        reporting.write_report(run_dir)
        say(result_line(summary, run_dir))
    return run_dir
