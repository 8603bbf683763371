"""A run from command line to report: the one place where data, model, loop and report meet.

An experiment says what is its own (``Experiment``: presets, and how a config becomes a
``Setup``); everything that all of them share happens here, in reading order in ``run``.
"""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import jax
import numpy as np

from experiments.running.config import DataConfig, RunConfig, UsageError, parse
from gen_jax import data, evaluation, images, reporting, training
from gen_jax.typing import PRNGKey

Data = TypeVar("Data", bound=data.AnyDataset)
State = Any  # a family's own, with ``step`` and ``params``


@dataclasses.dataclass(frozen=True)
class Splits(Generic[Data]):
    """The three parts of an experiment's data."""

    train: Data
    validation: Data
    test: Data


@dataclasses.dataclass(frozen=True)
class Setup:
    """A config made real: the state before the first step, and what is done with a state.

    ``validate(state)`` gives metrics on held-out images during training, ``film(state)`` a batch
    of uint8 images to watch, ``test(state)`` the numbers of the summary, ``draw(key, state, n)``
    new images where the model can, and ``pictures(state, run_dir)`` adds to the report. The
    checkpoint whose validation metric ``best`` is lowest ("min") or highest is kept. Where
    ``sample_rate`` is given, ``draw`` makes sounds instead: int16 [n, T, C].
    """

    state: State
    train_step: Callable[..., Any]
    validate: Callable[[State], Mapping[str, float]]
    film: Callable[[State], np.ndarray]
    test: Callable[[State], Mapping[str, float | str]]
    pictures: Callable[[State, Path], None]
    best: tuple[str, Literal["min", "max"]] | None
    draw: Callable[[PRNGKey, State, int], np.ndarray] | None = None
    sample_rate: int | None = None


def load_splits(config: DataConfig) -> Splits[data.Dataset]:
    """Loads the training, validation and test part of the config's dataset.

    With ``validation_fraction`` 0 every training image trains, and validation looks at the test
    images: for settings of papers that select nothing on them.
    """

    def part(split: str) -> data.Dataset:
        return data.load(
            config.dataset,
            split,
            data_dir=config.data_dir,
            image_size=config.image_size,
            channels=config.channels,
            validation_fraction=config.validation_fraction,
            seed=config.seed,
            skip_bad_images=config.skip_bad_images,
        )

    train, test = part("train"), part("test")
    validation = part("validation") if config.validation_fraction > 0 else test
    if train.skipped:
        say(f"{train.skipped} unreadable images of {config.dataset} are left out")
    return Splits(train, validation, test)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment's name, presets, ``build(config, splits) -> Setup``, and where its splits
    come from."""

    name: str
    description: str | None
    presets: Mapping[str, RunConfig]
    build: Callable[[Any, Any], Setup]
    load: Callable[[Any], Splits[Any]] = load_splits


def default_run_dir(experiment: str, preset: str, config: DataConfig, usual: DataConfig) -> Path:
    """Names a run by its preset, and by its dataset where that is not the preset's own."""
    name = preset
    if config.dataset != usual.dataset:
        name += "-" + "".join(c if c.isalnum() else "-" for c in config.dataset).strip("-")
    return Path("runs") / experiment / name


def run(experiment: Experiment, argv: Sequence[str] | None = None) -> Path:
    """Trains, evaluates and reports as the command line says; returns the run's folder.

    Raises ``UsageError``, ``data.DataError`` or ``training.RunError``, each with one line for the
    user, and ``training.Interrupted`` when a signal ended the run after saving it.
    """
    preset, config = parse(
        experiment.presets,
        argv,
        prog=f"python -m experiments.{experiment.name}",
        description=experiment.description,
    )
    join_processes(config)
    start = time.perf_counter()
    run_dir = config.run_dir or default_run_dir(
        experiment.name, preset, config, experiment.presets[preset]
    )
    splits = experiment.load(config)  # first: a mistake here must leave no run folder behind
    with training.open_run(
        run_dir, experiment=experiment.name, preset=preset, config=config
    ) as opened:
        if config.batch_size > len(splits.train):
            say(f"A batch is the whole training set: {len(splits.train)} examples.")
            config = dataclasses.replace(config, batch_size=len(splits.train))
        steps = config.total_steps(len(splits.train))
        done = read_summary(run_dir)
        if done is not None and done["steps"] >= steps:
            say(f"Nothing left to do: {run_dir} has its {done['steps']} steps.")
            refresh_report(opened, run_dir)
            say(result_line(done, run_dir))
            return run_dir
        setup = built(experiment, config, splits)
        before = time.perf_counter() - start
        result = fit(config, setup, splits.train, steps, opened)
        after = time.perf_counter()
        state = training.local_copy(result.state)
        if not config.quiet:
            say("Measuring on the test set, and writing the report ...")
        metrics = dict(setup.test(state))
        if opened.writes:
            setup.pictures(state, run_dir)
        summary = opened.write_summary(
            dataset=config.dataset,
            params=state.params,
            steps=result.steps,
            wall_s=before + result.seconds + time.perf_counter() - after,
            examples_per_s=result.examples_per_s,
            metrics=metrics,
        )
        if opened.writes:
            reporting.write_report(run_dir)
        say(result_line(summary, run_dir))
    return run_dir


def built(experiment: Experiment, config: RunConfig, splits: Splits[Any]) -> Setup:
    """The experiment's setup; what a network refuses of the config is the user's mistake."""
    try:
        return experiment.build(config, splits)
    except ValueError as error:
        raise UsageError(str(error)) from error


def refresh_report(opened: training.Run, run_dir: Path) -> None:
    """Writes the report of a run that was killed between its summary and its report."""
    report, summary = run_dir / "report.html", run_dir / "summary.json"
    if opened.writes and not (
        report.exists() and report.stat().st_mtime_ns >= summary.stat().st_mtime_ns
    ):
        reporting.write_report(run_dir)


def fit(
    config: RunConfig, setup: Setup, train: data.AnyDataset, steps: int, opened: training.Run
) -> training.FitResult:
    """Trains as the config says, with the setup's scores and pictures along the way."""
    metric, mode = setup.best or (None, "min")
    interval = math.ceil(steps / config.evaluations)
    step = training.compile_step(
        setup.train_step,
        training.make_mesh(usable_devices(config.batch_size)),
        steps_per_dispatch=config.steps_per_dispatch,
        how=config.compile,
    )
    return training.fit(
        setup.state,
        step,
        data.Batches(train, config.examples_per_step, seed=config.seed),
        steps=steps,
        run=opened,
        evaluate=lambda state: {
            f"validation/{name}": value for name, value in setup.validate(state).items()
        },
        sample=lambda state: images.grid(setup.film(state)),
        eval_every=interval,
        sample_every=interval,
        checkpoint_every=min(interval, config.checkpoint_every),
        keep=config.keep,
        best=metric and f"validation/{metric}",
        best_mode=mode,
        quiet=config.quiet,
    )


def usable_devices(batch_size: int) -> list[Any]:
    """As many devices as the batch can be spread over evenly.

    Raises ``UsageError`` where several processes would have to leave some idle.
    """
    devices = jax.devices()
    n = next(n for n in range(len(devices), 0, -1) if batch_size % n == 0)
    if n < len(devices):
        if jax.process_count() > 1:
            raise UsageError(
                f"--batch-size {batch_size} cannot be spread evenly over {len(devices)} devices"
            )
        say(f"A batch of {batch_size} is spread over {n} of {len(devices)} devices.")
    return devices[:n]


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """The summary of a run that has ended, else None."""
    path = run_dir / "summary.json"
    return json.loads(path.read_text()) if path.exists() else None


def join_processes(config: RunConfig) -> None:
    """Joins the processes of a run over several hosts, where the command line asks for it."""
    if config.coordinator is not None:
        if config.num_processes is None or config.process_id is None:
            raise UsageError("--coordinator wants --num-processes and --process-id beside it")
        where = {
            "coordinator_address": config.coordinator,
            "num_processes": config.num_processes,
            "process_id": config.process_id,
        }
    elif config.distributed:
        where = {}
    else:
        return
    try:
        jax.distributed.initialize(**where)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the processes of this run could not be joined: {reason}") from error


def say(line: str) -> None:
    """Prints a line to the user: once, however many processes there are."""
    if jax.process_index() == 0:
        print(line, flush=True)


def result_line(summary: Mapping[str, Any], run_dir: Path) -> str:
    """One line: the run's numbers, its speed, and where its report lies."""
    numbers = "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in summary["metrics"].items()
    )
    return (
        f"{summary['experiment']} {summary['preset']}, step {summary['steps']}: {numbers}  "
        f"({summary['examples_per_s']:,.0f} examples/s, {summary['wall_s']:.0f} s)\n"
        f"Report: {run_dir / 'report.html'}"
    )


def main(program: Callable[[], Any]) -> None:
    """Runs a script's ``program``: a user's mistake ends as one line and exit status 2."""
    try:
        program()
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(stop.exit_code) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except (UsageError, data.DataError, training.RunError, evaluation.WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
