"""A finished run, opened again: its config, its model, and its newest good checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments import autoencoder, began, gan, pixelcnn, pixelrnn, vae, wavenet
from experiments.running.config import RunConfig, UsageError, dashed
from experiments.running.harness import Experiment, Setup, built
from gen_jax import training

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (autoencoder, began, gan, pixelcnn, pixelrnn, vae, wavenet)
}


@dataclasses.dataclass(frozen=True)
class Reopened:
    """A run's parts, with ``state`` as it was saved."""

    experiment: Experiment
    config: RunConfig
    setup: Setup
    state: Any


def reopen(run_dir: Path, *, step: int | None = None, **changes: object) -> Reopened:
    """Opens a run folder, with ``changes`` to its config: another dataset to measure on, say.

    Raises ``training.RunError`` where there is no run of a known experiment, or no checkpoint.
    """
    name, _ = training.experiment_of(run_dir)
    if name not in EXPERIMENTS:
        raise training.RunError(
            f"{run_dir} is a run of {name!r}; this works for {', '.join(EXPERIMENTS)}"
        )
    experiment = EXPERIMENTS[name]
    saved = training.load_config(type(next(iter(experiment.presets.values()))), run_dir)
    given = {key: value for key, value in changes.items() if value is not None}
    for key in given:
        if not hasattr(saved, key):
            raise UsageError(f"--{dashed(key)} means nothing to a run of {name!r}")
    config = dataclasses.replace(saved, **given)
    setup = built(experiment, config, experiment.load(config))
    return Reopened(experiment, config, setup, training.restore(run_dir, setup.state, step=step))
