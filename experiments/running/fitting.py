"""Experiments that train a model: what an experiment says of it, and how it is fitted."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.running.config import RunConfig
from experiments.running.experiment import Experiment, Findings, Job, Splits, Summary
from experiments.running.options import UsageError
from experiments.running.terminal import say
from gen_jax import data, images, training
from gen_jax.typing import PRNGKey, PRNGKeys

State = Any  # a family's own, with ``step`` and ``params``


@dataclasses.dataclass(frozen=True)
class Translation:
    """How a run's model translates images.

    ``translate(state, keys, images)`` takes uint8 [B, H, W, channels] of any size of ``least``
    pixels a side or more and typed keys [B], one an image (``stochastic``: other keys give other
    images), and gives uint8 [B, H, W, made_channels]. An image's translation depends neither on
    the other images of its batch nor on its place there. ``backward`` is the other way, from
    ``made_channels`` to ``channels``, where the model has one. Both compile once a shape.

    ``prepare`` turns a user's picture, uint8 [H, W, picture_channels] (None: ``channels``), into
    what ``translate`` reads: uint8 [H', W', channels], of another size where the model enlarges.
    Without it a picture is read as gray or RGB, whichever ``channels`` says. ``size`` is the height
    and width of the only images that it takes, where there is but one.
    """

    translate: Callable[[State, PRNGKeys, np.ndarray], np.ndarray]
    channels: int
    made_channels: int
    least: int
    stochastic: bool
    backward: Callable[[State, PRNGKeys, np.ndarray], np.ndarray] | None = None
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    picture_channels: int | None = None
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Setup:
    """A config made real for examples of a kind: all of it but the data, which is handed in.

    ``init(train)`` draws the state before the first step, ``validate(state, splits)`` gives metrics
    on held-out examples during training, ``film(state, splits)`` a batch of uint8 images to watch,
    ``test(state, test)`` the numbers of the summary, ``draw(key, state, n)`` new examples where the
    model can, and ``pictures(state, splits, run_dir)`` adds to the report. The checkpoint whose
    validation metric ``best`` is lowest ("min") or highest is kept. Where ``sample_rate`` is given,
    examples are sounds: int16 [n, T, C]. ``translation`` is there where the model translates, and
    ``table(run_dir, metrics)`` adds the summary's numbers to the report where they make a table.
    ``ready`` is called before training, and raises ``ValueError`` where what is needed later to
    measure is missing. ``illustrate(key, state, texts, n)`` makes ``n`` images of each text, one
    text's after the other's, where the model makes images of texts.
    """

    init: Callable[[data.AnyDataset], State]
    train_step: Callable[..., Any]
    validate: Callable[[State, Splits], Mapping[str, float]]
    film: Callable[[State, Splits], np.ndarray]
    test: Callable[[State, Any], Mapping[str, float | int | str]]
    pictures: Callable[[State, Splits, Path], None]
    best: tuple[str, Literal["min", "max"]] | None
    draw: Callable[[PRNGKey, State, int], np.ndarray] | None = None
    sample_rate: int | None = None
    translation: Translation | None = None
    table: Callable[[Path, Mapping[str, Any]], None] | None = None
    ready: Callable[[], object] | None = None
    illustrate: Callable[[PRNGKey, State, Sequence[str], int], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Training(Experiment):
    """An experiment that trains the model of ``build(config, spec, n_examples)``.

    ``spec`` says what an example is like, and ``n_examples`` how many there are to train on: a
    model is built without its data.

    ``prepare(job)`` comes before training, and returns the job with what it made of its splits,
    which the run's record of its data does not know: ``build`` and ``Setup.test`` of a run that is
    opened again see examples as they were before.
    """

    _: dataclasses.KW_ONLY
    build: Callable[[Any, data.ExampleSpec, int], Setup]
    prepare: Callable[[Job], Job] | None = None

    def setup(self, config: Any, spec: data.ExampleSpec, n_examples: int) -> Setup:
        """Raises ``UsageError``, here or in ``init``, for what a network refuses of the config."""
        with _usage_errors():
            setup = self.build(config, spec, n_examples)

        def init(train: data.AnyDataset) -> State:
            with _usage_errors():
                return setup.init(train)

        return dataclasses.replace(setup, init=init)

    def settle(self, config: RunConfig, saved: Any, splits: Splits | None) -> RunConfig:
        assert splits is not None
        return config.with_decay(saved, len(splits.train))

    def is_done(self, job: Job, summary: Summary) -> bool:
        return summary["steps"] >= job.config.total_steps(len(job.data.train))

    def work(self, job: Job) -> Findings:
        if self.prepare is not None:
            with _usage_errors():
                job = self.prepare(job)
        config, splits = job.config, job.data
        setup = self.setup(config, splits.train.example_spec, len(splits.train))
        if setup.ready is not None:
            with _usage_errors():
                setup.ready()
        steps = config.total_steps(len(splits.train))
        announce(config, len(splits.train), steps)
        start = time.perf_counter()
        result = fit(config, setup, splits, steps, job.run)
        earlier_s = result.seconds - (time.perf_counter() - start)
        if not config.quiet:
            say("Measuring on the test set, and writing the report ...")
        metrics = dict(setup.test(result.state, splits.test))
        state = training.local_copy(result.state)
        if job.run.writes:
            setup.pictures(state, splits, job.run.dir)
            if setup.table is not None:
                setup.table(job.run.dir, metrics)
        return Findings(
            params=state.params,
            steps=result.steps,
            examples_per_s=result.examples_per_s,
            metrics=metrics,
            earlier_s=max(earlier_s, 0.0),
        )


@contextmanager
def _usage_errors() -> Iterator[None]:
    """What a network refuses is the user's mistake."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def announce(config: RunConfig, n_examples: int, steps: int) -> None:
    """Says, before the first step, what a user may not expect of the run's length or batches."""
    n = config.examples_per_step
    if n > n_examples:
        say(
            f"A step reads {n} examples and the training set has {n_examples}, so examples repeat "
            "within a step: a smaller --batch-size avoids that."
        )
    span = config.decay_span(n_examples)
    if span is not None and steps > span:
        say(
            f"The learning rate is 0 from step {span} to step {steps}, because the run's schedule "
            f"ends at step {span}. A longer schedule needs a new run: --run-dir and --decay-epochs."
        )


def fit(
    config: RunConfig, setup: Setup, splits: Splits, steps: int, opened: training.Run
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
        setup.init(splits.train),
        step,
        data.Batches(splits.train, config.examples_per_step, seed=config.seed),
        steps=steps,
        run=opened,
        evaluate=lambda state: {
            f"validation/{name}": value for name, value in setup.validate(state, splits).items()
        },
        sample=lambda state: images.grid(setup.film(state, splits)),
        eval_every=interval,
        sample_every=interval,
        checkpoint_every=min(interval, config.checkpoint_every),
        keep=config.keep,
        best=metric and f"validation/{metric}",
        best_mode=mode,
        quiet=config.quiet,
    )


def usable_devices(batch_size: int, devices: Sequence[Any] | None = None) -> list[Any]:
    """As many of the devices (default: all) as the batch can be spread over evenly.

    Raises ``UsageError`` where several processes would have to leave some idle.
    """
    devices = list(devices or jax.devices())
    n = next(n for n in range(len(devices), 0, -1) if batch_size % n == 0)
    if n < len(devices):
        if jax.process_count() > 1:
            raise UsageError(
                f"--batch-size {batch_size} cannot be spread evenly over {len(devices)} devices"
            )
        say(
            f"A batch of {batch_size} is spread over {n} of {len(devices)} devices: a multiple of "
            f"{len(devices)} would use all of them."
        )
    return devices[:n]
