"""The adversarial experiments from end to end, at their smallest."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import began, evaluate, gan, mixture, sample
from experiments.adversarial.models import RECIPES, GANConfig, make_networks
from experiments.running.fitting import fit
from experiments.running.options import UsageError
from experiments.running.run import run
from gen_jax import training
from gen_jax.adversarial import losses
from gen_jax.reporting.pictures import read_entries

SCORES = {
    "test/fid",
    "test/kid",
    "test/precision_k3",
    "test/recall_k3",
    "test/density_k5",
    "test/coverage_k5",
    "test/inception_score",
    "test/classes_covered",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan") / "run"
    return run(gan.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet"])


@pytest.mark.smoke
def test_a_gan_is_trained_scored_and_shown(trained):
    summary = json.loads((trained / "summary.json").read_text())
    assert set(summary["metrics"]) >= SCORES
    assert all(np.isfinite(summary["metrics"][name]) for name in SCORES)
    assert summary["metrics"]["reference"] == "2000 images of mnist-subset, test"
    assert summary["metrics"]["generated"] == 40
    assert summary["metrics"]["features"].startswith("gen_jax digits ")
    names = {entry.name for entry in read_entries(trained)}
    assert names >= {"health", "new-images", "interpolations", "neighbours"}
    page = (trained / "report.html").read_text()
    assert "Is it healthy?" in page
    with Image.open(trained / "samples" / "interpolation.gif") as gif:
        assert gif.n_frames > 10
    logged = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    names = {name for row in logged for name in row}
    assert names >= {
        "train/separation",
        "train/generator/gradient",
        "validation/fid",
        "validation/held_out/logit",
        "validation/training/logit",
        "validation/generated/logit",
    }


@pytest.mark.smoke
def test_a_trained_run_is_sampled_and_evaluated(trained, tmp_path, capsys):
    sample.program([str(trained), "--num", "6", "--out", str(tmp_path / "six.png")])
    with Image.open(tmp_path / "six.png") as sheet:
        assert sheet.size == (3 * 29 + 1, 2 * 29 + 1)
    evaluate.program([str(trained), "--out", str(tmp_path / "scores.json")])
    measured = json.loads((tmp_path / "scores.json").read_text())
    summary = json.loads((trained / "summary.json").read_text())["metrics"]
    assert measured == pytest.approx(summary)
    printed = capsys.readouterr().out
    for name in (*SCORES, "features", "reference", "resizer", "generated"):
        assert name in printed


@pytest.mark.smoke
@pytest.mark.slow
def test_a_gan_of_emoji_is_scored_by_their_classifier(tmp_path):
    options = ["--dataset", "emoji", "--steps", "2", "--evaluations", "1"]
    folder = run(gan.EXPERIMENT, ["smoke", "--run-dir", str(tmp_path), "--quiet", *options])
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    names = SCORES - {"test/classes_covered"}  # which is of digits
    assert all(np.isfinite(metrics[name]) for name in names)
    assert not {"test/classes_covered", "test/class_balance"} & set(metrics)
    assert metrics["features"].startswith("gen_jax emoji ")
    assert metrics["reference"] == "382 images of emoji, test"


@pytest.mark.smoke
def test_began_and_the_ring_run(tmp_path):
    folder = run(began.EXPERIMENT, ["smoke", "--run-dir", str(tmp_path / "began"), "--quiet"])
    assert set(json.loads((folder / "summary.json").read_text())["metrics"]) >= SCORES
    folder = run(mixture.EXPERIMENT, ["smoke", "--run-dir", str(tmp_path / "ring"), "--quiet"])
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert 0 <= metrics["test/modes_wasserstein"] <= mixture.MODES
    assert {entry.name for entry in read_entries(folder)} == {"ring", "modes"}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("gamma", "1.5", r"--gamma must lie in \[0, 1\], got 1.5"),
        ("lambda-k", "0", "--lambda-k must be positive, got 0.0"),
        ("generator-rate", "-1", "--generator-rate must be positive, got -1.0"),
        ("latent-scale", "0", "--latent-scale must be positive, got 0.0"),
    ],
)
def test_mistakes_about_began_are_one_line(option, value, words):
    with pytest.raises(UsageError, match=words):
        run(began.EXPERIMENT, ["smoke", f"--{option}", value])


@pytest.mark.parametrize("experiment", [gan.EXPERIMENT, began.EXPERIMENT], ids=["gan", "began"])
def test_a_resumed_game_is_the_uninterrupted_one(tmp_path, experiment):
    """Both networks, averages, batch statistics, k, optimizers and keys."""
    changes = {"ema_decay": 0.9, "quiet": True, "image_size": 8}
    config = dataclasses.replace(experiment.presets["smoke"], **changes)
    splits = experiment.load(config)
    setup = experiment.setup(config, splits.train.example_spec, len(splits.train))

    def play(folder, steps):
        with training.open_run(
            folder, experiment=experiment.name, preset="smoke", config=config
        ) as opened:
            return fit(config, setup, splits, steps, opened).state

    play(tmp_path / "parts", 2)
    resumed, whole = play(tmp_path / "parts", 4), play(tmp_path / "whole", 4)
    assert int(resumed.step) == 4
    assert training.params_digest(resumed) == training.params_digest(whole)


@pytest.mark.parametrize("loss", RECIPES)
def test_every_loss_has_networks_that_suit_it(loss):
    config = GANConfig(loss=loss, epochs=1.0)
    _, discriminator = make_networks(config, (28, 28, 1), None)
    recipe = config.recipe
    if recipe.penalty is not None:
        assert discriminator.norm != "batch"  # a penalty on single images' gradients

    # Both rates fall by G's updates, however many D takes for each.
    g_tx, d_tx = recipe.optimizers(lambda step: jnp.where(step < 1, 1.0, 0.0))
    for tx, updates in ((g_tx, 1), (d_tx, recipe.d_steps)):
        opt_state, moved = tx.init(jnp.ones(())), []
        for _ in range(updates + 1):
            update, opt_state = tx.update(jnp.ones(()), opt_state)
            moved.append(bool(update != 0.0))
        assert moved == [True] * updates + [False]


def test_a_step_reads_new_images_for_each_update_of_the_discriminator():
    config = GANConfig(loss="wasserstein", batch_size=16, epochs=2.0, decay_epochs=1.0)
    assert config.examples_per_step == 5 * 16
    assert config.total_steps(800) == 20
    assert float(config.rate(800)(10)) == 0.0  # the end of an epoch
    assert config.recipe.train_step.keywords["reuse_images"] is False
    reused = dataclasses.replace(config, reuse_images=True)
    assert reused.examples_per_step == 16
    assert reused.recipe.train_step.keywords["reuse_images"] is True
    assert dataclasses.replace(config, d_steps=2).examples_per_step == 2 * 16
    assert GANConfig(batch_size=16, epochs=1.0).examples_per_step == 16


@pytest.mark.smoke
@pytest.mark.parametrize("more", [[], ["--reuse-images"]], ids=["fresh", "reused"])
def test_wasserstein_runs_on_fresh_images_and_on_the_same(tmp_path, more):
    arguments = ["smoke", "--loss", "wasserstein", "--steps", "2", "--run-dir", str(tmp_path / "r")]
    folder = run(gan.EXPERIMENT, [*arguments, "--quiet", *more])
    assert json.loads((folder / "summary.json").read_text())["steps"] == 2


def test_a_penaltys_weight_is_the_command_lines():
    """Also where the penalty is the loss's own."""
    config = GANConfig(loss="wasserstein", penalty_weight=1.5, epochs=1.0)
    assert config.recipe.penalty is losses.wgan_gp
    assert config.recipe.penalty_weight == 1.5
    penalty = config.recipe.train_step.keywords["penalty"]
    game = (lambda x: 3.0 * x[:, 0], jax.random.split(jax.random.key(0), 2), *jnp.ones((2, 2, 1)))
    np.testing.assert_allclose(penalty(*game), 1.5 * (3.0 - 1.0) ** 2, rtol=1e-6)


def test_a_penalty_takes_batch_norm_away_from_the_discriminator():
    config = GANConfig(loss="non-saturating", penalty="r1", epochs=1.0)
    assert make_networks(config, (28, 28, 1), None)[1].norm == "none"
    assert GANConfig(loss="wasserstein", penalty="none", epochs=1.0).recipe.penalty is None


def test_the_command_line_chooses_the_discriminators_normalization():
    for norm, layers, spectral in [("batch", "batch", False), ("spectral", "none", True)]:
        config = GANConfig(loss="minimax", norm=norm, penalty="r1", epochs=1.0)
        discriminator = make_networks(config, (28, 28, 1), None)[1]
        assert (discriminator.norm, discriminator.spectral) == (layers, spectral)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--d-steps", "0"], "--d-steps must be 1 or more, got 0"),
        (["--penalty-weight", "-1"], "--penalty-weight must be positive, got -1"),
        (["--scored-samples", "3"], "--scored-samples must be 20 or more, got 3"),
        (["--image-size", "4"], "4×4 pixels"),
        (["--image-size", "30", "--network", "residual"], "30×30 pixels"),
    ],
)
def test_mistakes_are_one_line(tmp_path, argv, words):
    with pytest.raises(UsageError, match=words) as refused:
        run(gan.EXPERIMENT, ["smoke", "--run-dir", str(tmp_path / "run"), *argv])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("split", "n", "least"), [("validation", 1, 2), ("test", 5, 6)])
def test_too_few_images_to_score_by_are_refused_before_training(tmp_path, split, n, least):
    counts = {"train": 2, "validation": 2, "test": 6, split: n}
    for part, count in counts.items():
        (tmp_path / "set" / part).mkdir(parents=True)
        for i in range(count):
            gray = Image.fromarray(np.full((28, 28), 20 * i, np.uint8))
            gray.save(tmp_path / "set" / part / f"{i}.png")
    options = ["--dataset", f"folder:{tmp_path / 'set'}", "--run-dir", str(tmp_path / "run")]
    message = rf"^folder:.*: {split} has too few images .*, {n}; it needs {least} or more$"
    with pytest.raises(UsageError, match=message):
        run(gan.EXPERIMENT, ["smoke", "--quiet", *options])
    assert not (tmp_path / "run").exists()
