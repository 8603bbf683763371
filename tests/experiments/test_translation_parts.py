"""The parts of translations: tasks, measures, schedules, and runs that resume."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cyclegan, pix2pix
from experiments.adversarial.judges import Judge
from experiments.running.fitting import fit
from experiments.running.options import parse
from experiments.translation.scores import Scorer, digits_of, images_of
from experiments.translation.tasks import TASKS, identity
from experiments.translation.ways import Way
from gen_jax import data, training

ROOT = Path(__file__).parents[2]
COMPARED = {"l1", "psnr", "ssim", "ab_error", "retrieval_top1", "retrieval_top5"}
# One update of the least networks, on images of 8×8 pixels.
TINY = ["--features", "1", "--batch-size", "2", "--watched", "2", "--evaluations", "1"]
TINY += ["--image-size", "8", "--quiet", "--steps-per-dispatch", "1"]  # one program
CYCLE = [*TINY, "--blocks", "0"]


# Tasks, part by part


def copied(state, keys, images):
    return images


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_data_baselines_and_pictures_that_it_can_read(task):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    config = parse(pix2pix.PRESETS, ["smoke", "--task", task], prog="x", description=None).config
    splits = pix2pix.EXPERIMENT.load(config)
    assert splits is not None
    spec = splits.train.example_spec
    assert spec.shape == (32, 32, 3)
    assert spec.spatial is not None
    assert spec.spatial[:2] == (32, 32)
    few = data.part(splits.test, 6)
    way = Way("spatial", "image", lambda state, keys, x: x[..., :1].repeat(3, -1))
    rows = Scorer(None, TASKS[task].baselines, seed=0).rows(way, {}, jax.random.key(0), few)
    assert set(rows) == {"", *TASKS[task].baselines, "truth"}
    for name, columns in rows.items():
        assert (set(columns) >= COMPARED) == (name != "truth")
        assert np.isfinite(list(columns.values())).all()
    if (prepare := TASKS[task].prepare) is not None:
        source = prepare(np.zeros((9, 13, 3), np.uint8))
        factor = int(task[-1]) if task.startswith("super") else 1
        assert source.shape == (9 * factor, 13 * factor, spec.spatial[-1])
        assert source.dtype == np.uint8


def test_noise_differs_between_splits():
    options = ["smoke", "--task", "denoise", "--dataset", "emoji:noto"]
    config = parse(pix2pix.PRESETS, options, prog="x", description=None).config
    parts = [pix2pix.open_pairs(config, split) for split in ("train", "validation", "test")]
    assert len({part.condition.name for part in parts}) == 3


# Measures


class Sides:
    """Two domains of 5 and 3 images of one channel, each of one level."""

    def __init__(self, names: tuple[str, ...] | None):
        parts = (
            data.ArrayDataset(
                side,
                "test",
                np.full((n, 28, 28, 1), level, np.uint8)
                + np.arange(n, dtype=np.uint8)[:, None, None, None],
                np.arange(n) % 2 if names else None,
                class_names=names,
            )
            for side, n, level in (("a", 5, 10), ("b", 3, 200))
        )
        self.domains = data.TwoDomains(*parts, name="sides")


def test_domains_are_measured_on_each_image_once():
    domains = Sides(None).domains
    assert images_of(domains, "a")[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
    assert images_of(domains, "b")[:, 0, 0, 0].tolist() == [200, 201, 202]
    judge = Judge.of((28, 28, 1))
    rows = Scorer(judge, {"identity": identity}, seed=0).rows(
        Way("b", "a", copied), {}, jax.random.key(0), domains
    )
    assert set(rows) == {"", "identity"}  # neither a truth nor colours


def test_labels_are_kept_only_where_they_are_digits():
    """A classifier of digits says nothing of other classes."""
    forward, backward = Way("a", "b", copied), Way("b", "a", copied)
    for names in (None, ("cat", "dog")):
        assert digits_of(Sides(names).domains, forward) is None
    domains = Sides(tuple("0123456789")).domains
    labels = [digits_of(domains, way) for way in (forward, backward)]
    assert [list(x) for x in labels if x is not None] == [[0, 1, 0, 1, 0], [0, 1, 0]]


# The learning rate's schedule


def rates(*options: str, command=pix2pix, n_examples: int = 100):
    config = parse(command.PRESETS, ["smoke", *options], prog="x", description=None).config
    return config.with_decay(None, n_examples).rate(n_examples)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_the_rate_is_constant_for_a_share_and_zero_at_the_end(share, steps):
    options = ["--decay-epochs", "run", "--steps", str(steps), "--constant-share", str(share)]
    rate = rates(*options)
    values = np.array([float(rate(step)) for step in range(steps + 5)])
    begin = round(share * steps)
    np.testing.assert_allclose(values[:begin], 2e-4, rtol=1e-6)
    np.testing.assert_array_equal(values[steps:], 0.0)
    assert (values[:steps] > 0.0).all()
    falling = np.diff(values[begin:steps])
    np.testing.assert_allclose(falling, falling[:1].repeat(len(falling)), atol=1e-9)


def test_without_a_schedule_the_rate_stays():
    rate = rates()
    assert float(rate(0)) == float(rate(10**6)) == pytest.approx(2e-4)


def test_a_schedule_in_epochs_is_that_of_the_batch_size():
    rate = rates("--decay-epochs", "2", "--batch-size", "10", n_examples=100)
    assert float(rate(10)) == pytest.approx(2e-4)
    assert float(rate(15)) == pytest.approx(1e-4)
    assert float(rate(20)) == 0.0


def test_the_discriminator_may_have_a_rate_of_its_own():
    options = ["smoke", "--discriminator-rate", "1e-5"]
    config = parse(pix2pix.PRESETS, options, prog="x", description=None).config
    x = jnp.ones(3)
    for rate, expected in ((None, 2e-4), (config.discriminator_rate, 1e-5)):
        tx = config.adam(100, rate)
        updates, _ = tx.update(x, tx.init(x), x)
        np.testing.assert_allclose(updates, -expected, rtol=1e-4)  # Adam's first step


@pytest.mark.parametrize("command", [pix2pix, cyclegan])
def test_a_longer_run_keeps_its_schedule(command):
    def config(*options):
        options = ["smoke", "--decay-epochs", "run", *options]
        return parse(command.PRESETS, options, prog="x", description=None).config

    first = config("--steps", "10").with_decay(None, 100)
    longer = config("--steps", "30").with_decay(first, 100)
    assert [float(longer.rate(100)(step)) for step in range(12)] == [
        float(first.rate(100)(step)) for step in range(12)
    ]


# Resuming


def config_of(command, *options: str):
    own = CYCLE if command is cyclegan else [*TINY, "--depth", "2"]
    return parse(command.PRESETS, ["smoke", *own, *options], prog="x", description=None).config


def played(command, folder: Path, steps: int, *options: str):
    """The state after so many steps in a folder, by ``fit`` alone: nothing is measured."""
    config = config_of(command, *options)
    splits = command.EXPERIMENT.load(config)
    setup = command.EXPERIMENT.setup(config, splits.train.example_spec, len(splits.train))
    setup = dataclasses.replace(
        setup, validate=lambda *_: {}, film=lambda *_: np.zeros((1, 2, 2, 1), np.uint8)
    )
    with training.open_run(
        folder, experiment=command.EXPERIMENT.name, preset="smoke", config=config
    ) as opened:
        return fit(config, setup, splits, steps, opened).state


@pytest.mark.slow
@pytest.mark.parametrize("command", [pix2pix, cyclegan], ids=["pix2pix", "cyclegan"])
def test_a_resumed_run_is_the_unbroken_one(tmp_path, command):
    """All networks, averages, batch statistics, optimizers, keys, and images remembered."""
    options = ["--ema-decay", "0.9"]
    first = played(command, tmp_path / "parts", 3, *options)
    resumed = played(command, tmp_path / "parts", 7, *options)
    whole = played(command, tmp_path / "whole", 7, *options)
    assert int(resumed.step) == 7
    assert training.params_digest(resumed) == training.params_digest(whole)
    assert training.params_digest(resumed) != training.params_digest(first)
    if command is cyclegan:
        assert int(first.made_b.count) == len(first.made_b.images)  # full when it stopped
        swapped = np.asarray(first.made_b.images) != np.asarray(whole.made_b.images)
        assert swapped.any()


@pytest.mark.slow
def test_a_killed_cyclegan_resumes_as_the_unbroken_one(tmp_path):
    folder, steps = tmp_path / "killed", 400
    options = [*CYCLE, "--checkpoint-every", "4"]
    command = [sys.executable, "-m", "experiments.cyclegan", "smoke", *options]
    command += ["--steps", str(steps), "--run-dir", str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.monotonic() + 300.0
    while max(training.saved_metrics(folder), default=0) < 8:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    saved = max(training.saved_metrics(folder))
    assert 8 <= saved < steps
    resumed, whole = (
        played(cyclegan, tmp_path / name, saved + 6, *options[len(CYCLE) :])
        for name in ("killed", "whole")
    )
    assert int(resumed.made_a.count) == 3
    assert training.params_digest(resumed) == training.params_digest(whole)
