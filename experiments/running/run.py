"""A run from command line to report: the one story that all experiments share."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.running.config import BaseConfig, RunConfig
from experiments.running.experiment import Experiment, Job
from experiments.running.options import ByChoice, UsageError, parse
from experiments.running.terminal import say
from gen_jax import reporting, training

HEADLINES = 16  # numbers of the summary that the terminal shows


def run(experiment: Experiment, argv: Sequence[str] | None = None) -> Path:
    """Does an experiment as the command line says, and reports; returns the run's folder.

    Raises ``UsageError``, ``data.DataError`` or ``training.RunError``, each with one line for the
    user, and ``training.Interrupted`` when a signal ended the run after saving it.
    """
    preset, usual, config = parse(
        experiment.presets,
        argv,
        prog=f"python -m experiments.{experiment.name}",
        description=experiment.description,
    )
    join_processes(config)
    experiment.start_devices(config)
    start = time.perf_counter()
    run_dir = config.run_dir or default_run_dir(experiment, preset, config, usual)
    splits = experiment.load(config)  # first: a mistake here must leave no run folder behind
    config = experiment.settle(config, saved_config(run_dir, type(config)), splits)
    with training.open_run(
        run_dir,
        experiment=experiment.name,
        preset=preset,
        config=config,
        data=splits and splits.record(),
        accept_changed_data=splits is not None and config.accept_changed_data,
    ) as opened:
        job = Job(dataclasses.replace(config, run_dir=run_dir), opened, splits)
        if opened.data is training.DataStatus.UNKNOWN:
            say(f"{run_dir} has no record of its data, which is assumed to be unchanged.")
        done = training.read_summary(run_dir)
        unchanged = opened.data is not training.DataStatus.CHANGED
        if done is not None and unchanged and experiment.is_done(job, done):
            say(f"Nothing to do: {run_dir} already has all {done['steps']} steps.")
            refresh_report(opened)
            say(result_line(done, run_dir))
            return run_dir
        findings = experiment.work(job)
        summary = opened.write_summary(
            dataset=config.source,
            params=findings.params,
            steps=findings.steps,
            wall_s=findings.earlier_s + time.perf_counter() - start,
            examples_per_s=findings.examples_per_s,
            metrics=findings.metrics,
        )
        if opened.writes:
            reporting.write_report(run_dir)
        say(result_line(summary, run_dir))
    return run_dir


def default_run_dir(
    experiment: Experiment, preset: str, config: BaseConfig, usual: BaseConfig
) -> Path:
    """Names a run by its preset, by the choice that the preset follows where that is not the first,
    and by its dataset where that is not the preset's own."""
    name, found = preset, experiment.presets[preset]
    if isinstance(found, ByChoice) and (choice := found.name_of(usual)) is not None:
        name += f"-{choice}"
    if config.source != usual.source:
        name += "-" + "".join(c if c.isalnum() else "-" for c in config.source).strip("-")
    return Path("runs") / experiment.name / name


def saved_config(run_dir: Path, cls: type[Any]) -> Any:
    """The config of an earlier start in the folder; None where there was none of this kind."""
    if not (run_dir / "config.json").exists():
        return None
    try:
        return training.load_config(cls, run_dir)
    except training.RunError:
        return None  # opening the folder will say what is wrong with it


def refresh_report(opened: training.Run) -> None:
    """Writes the report of a run that was killed between its summary and its report."""
    report, summary = opened.dir / "report.html", opened.dir / "summary.json"
    if opened.writes and not (
        report.exists() and report.stat().st_mtime_ns >= summary.stat().st_mtime_ns
    ):
        reporting.write_report(opened.dir)


def join_processes(config: BaseConfig) -> None:
    """Joins the processes of a run over several hosts, where the command line asks for it."""
    if not isinstance(config, RunConfig):
        return
    where: dict[str, Any] = {}
    if config.coordinator is not None:
        if config.num_processes is None or config.process_id is None:
            raise UsageError("--coordinator also needs --num-processes and --process-id")
        where = {
            "coordinator_address": config.coordinator,
            "num_processes": config.num_processes,
            "process_id": config.process_id,
        }
    elif not config.distributed:
        return
    try:
        jax.distributed.initialize(**where)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the processes of this run could not be joined: {reason}") from error


def result_line(summary: Mapping[str, Any], run_dir: Path) -> str:
    """One line: the run's numbers, its speed, and where its report lies."""
    shown = list(summary["metrics"].items())[:HEADLINES]
    numbers = "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown
    )
    more = len(summary["metrics"]) - len(shown)
    numbers += f"  and {more} more in summary.json" if more else ""
    return (
        f"{summary['experiment']} {summary['preset']}, step {summary['steps']}: {numbers}  "
        f"({summary['examples_per_s']:,.0f} examples/s, {summary['wall_s']:.0f} s)\n"
        f"Report: {run_dir / 'report.html'}"
    )
