"""Runs within a run: models that a study trains, each in a folder of its own that can be reopened.

A study that is started again on its folder resumes where it was interrupted: what was trained is
read from its checkpoints, and what was not is trained from the newest of them.
"""

import dataclasses
from typing import Any

from experiments.running.config import ImageConfig, RunConfig
from experiments.running.experiment import Job
from experiments.running.fitting import Setup, Training, fit
from experiments.running.run import saved_config
from gen_jax import training


def within(config: ImageConfig, preset: Any, **choices: Any) -> Any:
    """A preset of another experiment, on the data and with the seed of the study's ``config``, and
    with ``choices``; what does not apply is as it is by default."""
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(ImageConfig)
        if field.name != "run_dir"
    }
    return training.without_idle(dataclasses.replace(preset, **shared | choices))


@dataclasses.dataclass(frozen=True)
class Nested:
    """A model to train in the folder ``name`` of a study's ``job``, on the study's data."""

    job: Job
    name: str
    experiment: Training
    config: RunConfig
    setup: Setup

    @classmethod
    def of(cls, job: Job, name: str, experiment: Training, config: RunConfig) -> "Nested":
        """Nothing is written yet. Raises ``UsageError`` where a network refuses the config."""
        train = job.data.train
        saved = saved_config(job.run.dir / name, type(config))
        settled = experiment.settle(config, saved, job.data)
        here = dataclasses.replace(settled, run_dir=job.run.dir / name)
        setup = experiment.setup(here, train.example_spec, len(train))
        return cls(job, name, experiment, settled, setup)

    def train(self) -> training.FitResult:
        """Trains the model as its own experiment does; one that is trained is read again.

        What the experiment prepares lies in the model's folder, too, but its splits are the job's.
        """
        splits = self.job.data
        with training.open_run(
            self.job.run.dir / self.name,
            experiment=self.experiment.name,
            preset=self.job.run.experiment,
            config=self.config,
            data=splits.record(),
            accept_changed_data=self.config.accept_changed_data,
        ) as opened:
            here = dataclasses.replace(self.config, run_dir=opened.dir)
            if self.experiment.prepare is not None:
                self.experiment.prepare(Job(here, opened, splits))
            steps = self.config.total_steps(len(splits.train))
            return fit(self.config, self.setup, splits, steps, opened)
