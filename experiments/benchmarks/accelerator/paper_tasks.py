"""Short runs of experiments' ``paper`` presets: their score by the time that training took."""

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import jax

from experiments.benchmarks.accelerator.options import Options
from experiments.benchmarks.accelerator.tasks import Task
from experiments.running.fitting import Training
from experiments.running.options import ByChoice
from gen_jax import data, training

DATASET = "mnist-subset"  # shipped, in the place of the preset's
SCORES = 8  # about so many in a run
CPU_STEPS = 5  # of a dispatch, where a step may take seconds


def paper_tasks(options: Options) -> list[Task]:
    """One for each of the experiments."""
    from experiments import gan, pixelcnn, vae  # late: rooms are imported by commands

    preset = "smoke" if options.small else "paper"
    known = (vae,) if options.small else (pixelcnn, vae, gan)
    return [paper_task(module.EXPERIMENT, preset, options.paper_seconds) for module in known]


def paper_task(experiment: Training, preset: str, at_most: float) -> Task:
    """A run that ends after ``at_most`` seconds, or where the preset does."""

    def measure(seconds: float) -> Mapping[str, Any]:
        del seconds
        run = Run.of(experiment, preset)
        run.train(run.per_dispatch)  # which compiles
        compile_s, run.seconds = run.seconds, 0.0
        curve = [(0.0, run.score())]
        end = time.perf_counter() + at_most
        while run.steps < run.last and time.perf_counter() < end:
            run.train(run.several(at_most / SCORES))
            curve.append((run.seconds, run.score()))
        examples = (run.steps - run.per_dispatch) * run.config.examples_per_step
        return {
            "dataset": DATASET,
            "score": run.best[0],
            "better": run.best[1],
            "curve": curve,
            "steps": run.steps,
            "examples_per_s": examples / run.seconds if run.seconds else None,
            "compile_s": compile_s,
        }

    about = {"experiment": experiment.name, "preset": preset}
    return Task("paper", about, measure, lambda rows: at_most)


@dataclasses.dataclass
class Run:
    """A run that is trained piece by piece; ``seconds`` are those of training alone."""

    config: Any
    setup: Any
    splits: Any
    step: training.CompiledStep
    state: Any
    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, experiment: Training, preset: str) -> "Run":
        usual = experiment.presets[preset]
        usual = next(iter(usual.presets.values())) if isinstance(usual, ByChoice) else usual
        config = dataclasses.replace(usual, dataset=DATASET, quiet=True)
        splits = experiment.load(config)
        assert splits is not None
        config = experiment.settle(config, None, splits)
        setup = experiment.setup(config, splits.train.example_spec, len(splits.train))
        if setup.ready is not None:  # before time goes into training
            setup.ready()
        k = config.steps_per_dispatch
        step = training.compile_step(
            setup.train_step,
            training.make_mesh(jax.devices()[:1]),
            steps_per_dispatch=min(k, CPU_STEPS) if jax.default_backend() == "cpu" else k,
        )
        return cls(config, setup, splits, step, setup.init(splits.train))

    @property
    def per_dispatch(self) -> int:
        return self.step.steps_per_dispatch

    @property
    def last(self) -> int:
        """The step at which the preset ends."""
        return self.config.total_steps(len(self.splits.train))

    @property
    def best(self) -> tuple[str, str]:
        """The score's name, and whether it is better when it is ``max`` or ``min``."""
        assert self.setup.best is not None
        return self.setup.best

    def several(self, seconds: float) -> int:
        """As many whole dispatches as take so long; one before that is known."""
        if not self.seconds:
            return self.per_dispatch
        each = self.seconds * self.per_dispatch / (self.steps - self.per_dispatch)
        return self.per_dispatch * max(1, math.ceil(seconds / each))

    def train(self, steps: int) -> None:
        config, self.steps = self.config, min(self.last, self.steps + steps)
        batches = data.Batches(self.splits.train, config.examples_per_step, seed=config.seed)
        start = time.perf_counter()
        self.state = training.fit(
            self.state, self.step, batches, steps=self.steps, quiet=True
        ).state
        self.seconds += time.perf_counter() - start

    def score(self) -> float:
        """On the validation data."""
        return float(self.setup.validate(self.state, self.splits)[self.best[0]])
