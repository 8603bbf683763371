"""Runs within a run: a study's models are trained on its data, once, and go on where they were."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from experiments import autoencoder
from experiments.running.config import ImageConfig
from experiments.running.experiment import Job
from experiments.running.nested import Nested, within
from gen_jax import training

STUDY = ImageConfig(seed=3, quiet=True, validation_fraction=0.2)
PRESET = dataclasses.replace(
    autoencoder.PRESETS["smoke"], hidden=(8,), code_dim=2, evaluations=1, decay_epochs="run"
)


@pytest.fixture(scope="module")
def splits():
    return autoencoder.EXPERIMENT.load(STUDY)


def train(folder, splits, **choices) -> training.FitResult:
    """A run of a study's is opened, and trains its one model."""
    with training.open_run(folder, experiment="study", preset="smoke", config=STUDY) as opened:
        config = within(STUDY, PRESET, **choices)
        return Nested.of(
            Job(STUDY, opened, splits), "small", autoencoder.EXPERIMENT, config
        ).train()


def same(a, b) -> bool:
    equal = jax.tree.map(np.array_equal, a.params, b.params)
    return all(jax.tree.leaves(equal))


def test_a_preset_within_a_study_has_its_data_and_seed_and_else_its_own_options():
    config = within(STUDY, PRESET, code_dim=5)
    assert (config.seed, config.quiet, config.validation_fraction) == (3, True, 0.2)
    assert (config.dataset, config.code_dim, config.hidden) == (STUDY.dataset, 5, (8,))
    study = dataclasses.replace(STUDY, run_dir="elsewhere")
    assert within(study, PRESET).run_dir is None


def test_an_interrupted_model_goes_on_and_a_trained_one_is_read(tmp_path, splits):
    whole = train(tmp_path / "whole", splits, steps=6)
    train(tmp_path / "cut", splits, steps=6, checkpoint_every=3)
    shutil.rmtree(tmp_path / "cut" / "small" / "checkpoints" / "6")
    resumed = train(tmp_path / "cut", splits, steps=6)
    assert (resumed.first_step, resumed.steps) == (3, 6)
    assert same(whole.state, resumed.state)
    again = train(tmp_path / "cut", splits, steps=6)
    assert (again.first_step, again.steps) == (6, 6)
    assert same(whole.state, again.state)


def test_a_nested_run_is_one_of_its_own_experiment(tmp_path, splits):
    train(tmp_path, splits, steps=2)
    assert training.experiment_of(tmp_path / "small") == ("autoencoder", "study")
    saved = training.load_config(autoencoder.Config, tmp_path / "small")
    assert saved.decay_steps == 2  # of its own length
    with pytest.raises(training.RunError, match="code_dim: 2 -> 3"):
        train(tmp_path, splits, steps=2, code_dim=3)
