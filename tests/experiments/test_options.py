"""How options are declared, and how a command line becomes a config."""

import dataclasses
import json

import pytest

from experiments import (
    autoencoder,
    began,
    cyclegan,
    evaluate,
    gan,
    pix2pix,
    pixelcnn,
    pixelrnn,
    sample,
    text_encoder,
    text_losses,
    text_to_image,
    vae,
    wavenet,
)
from experiments.benchmarks.accelerator.options import PRESETS
from experiments.running import arguments
from experiments.running.options import ByChoice, UsageError, parse
from experiments.running.run import run
from gen_jax import training

EXPERIMENTS = [
    module.EXPERIMENT
    for module in (
        *(autoencoder, began, cyclegan, gan, pix2pix, pixelcnn, pixelrnn, vae, wavenet),
        *(text_encoder, text_losses, text_to_image),
    )
]


def read(experiment, *argv):
    return parse(experiment.presets, argv, prog="test", description=None)


@pytest.mark.parametrize(
    ("experiment", "argv", "words"),
    [
        (
            pixelcnn,
            ["--dropout", "0.1"],
            "--dropout applies only to --model plus-plus (here: --model gated)",
        ),
        (pixelcnn, ["--blocks", "3"], "--blocks applies only to --model plus-plus"),
        (pixelcnn, ["--stages=3"], "--stages applies only to --model plus-plus"),
        (
            pixelcnn,
            ["--model", "plus-plus", "--layers", "3"],
            "--layers applies only to --model gated",
        ),
        (pixelcnn, ["--model", "plus-plus", "--kernel", "3"], "--kernel applies only"),
        (
            pixelcnn,
            ["--model", "plus-plus", "--first-kernel", "3"],
            "--first-kernel applies only",
        ),
        (
            pixelcnn,
            ["--model", "plus-plus", "--head_features", "3"],
            "--head-features applies",
        ),
        (
            pixelcnn,
            ["--levels", "4"],
            "--levels applies only to --likelihood categ",
        ),
        (
            pixelcnn,
            ["--likelihood", "mixture", "--binarization", "threshold"],
            "--binarization applies only to --likelihood bernoulli (here: --likelihood mixture)",
        ),
        (
            pixelrnn,
            ["--levels", "4"],
            "--levels applies only to --likelihood categ",
        ),
        (vae, ["--network", "conv", "--hidden", "8"], "--hidden applies only to --network dense"),
        (vae, ["--features", "8"], "--features applies only to --network conv"),
        (vae, ["--likelihood", "gaussian", "--binarization", "dynamic"], "--binarization applies"),
        (
            autoencoder,
            ["--hidden", "8"],
            "--hidden applies only to --network dense (here",
        ),
        (
            gan,
            ["--network", "dense", "--upsample", "resize"],
            "--upsample applies only to --network conv",
        ),
        (
            gan,
            ["--penalty-weight", "2"],
            "--penalty-weight applies only to a penalty",
        ),
        (gan, ["--no_reuse_images"], "--reuse-images applies only to several updates"),
        (vae, ["--importance-samples", "5", "--beta", "2"], "--beta applies only to"),
        (vae, ["--num-processes", "2"], "--num-processes applies only to --coordinator"),
        (vae, ["--data-dir", "x"], "--data-dir applies only to --dataset tfds:..."),
        (
            gan,
            ["--dataset", "emoji", "--data-dir", "x"],
            "--data-dir applies only to --dataset tfds:... or --dataset emoji:64...",
        ),
        (vae, ["--dataset", "npz:x", "--skip-bad-images"], "--skip-bad-images applies only to"),
        (wavenet, ["--resample"], "--resample applies only to --dataset folder:... or --dataset"),
        (wavenet, ["--label", "pitch"], "--label applies only to --dataset tfds:..."),
        (
            gan,
            ["--reuse-images"],
            "--reuse-images applies only to several updates",
        ),
    ],
)
def test_an_option_that_does_nothing_is_refused(experiment, argv, words):
    with pytest.raises(UsageError) as refused:
        read(experiment.EXPERIMENT, *argv)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_what_does_nothing_is_neither_kept_nor_another_run(tmp_path, experiment):
    """It is at its default in the config, and missing from the folder and so from the report."""
    config = read(experiment, "smoke").config
    idle = {f.name: f for f in dataclasses.fields(config) if not training.applies(f, config)}
    assert {name: getattr(config, name) for name in idle} == {
        name: field.default for name, field in idle.items()
    }
    training.open_run(tmp_path, experiment="x", preset="smoke", config=config).close()
    saved = json.loads((tmp_path / "config.json").read_text())["config"]
    assert saved.keys() == {f.name for f in dataclasses.fields(config)} - idle.keys()
    assert training.load_config(type(config), tmp_path) == config


def test_options_that_mean_something_are_read():
    config = read(pixelcnn.EXPERIMENT, "--model", "plus-plus", "--dropout", "0.1").config
    assert (config.dropout, config.layers) == (0.1, 7)
    config = read(gan.EXPERIMENT, "--loss", "wasserstein", "--penalty-weight", "2").config
    assert config.penalty_weight == 2.0


def test_a_preset_follows_the_model():
    """Salimans et al. 2017: 5 blocks of 160 maps, a mixture, Adam's rate falling at each step."""
    paper = read(pixelcnn.EXPERIMENT, "paper", "--model", "plus-plus").config
    assert (paper.blocks, paper.stages, paper.features) == (5, 3, 160)
    assert (paper.likelihood, paper.dataset) == ("mixture", "tfds:cifar10")
    assert (paper.dropout, paper.ema_decay) == (0.5, 0.9995)
    assert float(paper.rate(50_000)(1000)) == pytest.approx(1e-3 * 0.999995**1000)
    assert read(pixelcnn.EXPERIMENT, "paper", "--model=plus-plus").config == paper
    last = read(pixelcnn.EXPERIMENT, "paper", "--model=plus-plus", "--model", "gated").config
    assert (last.model, last.features) == ("gated", 128)  # as tyro takes the last value
    gated = read(pixelcnn.EXPERIMENT, "paper")
    assert (gated.config.model, gated.config.features) == ("gated", 128)
    masked = read(pixelcnn.EXPERIMENT, "paper", "--model", "masked").config
    assert (masked.model, masked.features) == ("masked", 128)


@pytest.mark.parametrize("preset", ["paper", "default", "smoke"])
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_every_preset_says_how_long_it_trains(experiment, preset):
    found = experiment.presets[preset]
    presets = found.presets.values() if isinstance(found, ByChoice) else [found]
    for config in presets:
        assert config.steps or config.epochs or getattr(config, "updates", None)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_that_no_key_holds_is_refused_by_every_command(seed):
    words = rf"--seed must lie in 0\.\.4294967295, got {seed}"
    for program in (
        lambda: run(vae.EXPERIMENT, ["smoke", "--seed", str(seed)]),
        lambda: sample.program(["nowhere", "--seed", str(seed)]),
    ):
        with pytest.raises(UsageError, match=words):
            program()


def test_a_seed_at_its_limit_makes_a_key():
    import jax

    assert read(vae.EXPERIMENT, "--seed", str(2**32 - 1)).config.seed == 2**32 - 1
    jax.random.key(2**32 - 1)


def test_output_is_checked_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for program in (evaluate.program, sample.program):
        with pytest.raises(UsageError, match="cannot write"):
            program(["no-run-here", "--out", str(tmp_path / "file" / "x.json")])


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["smoke", "--minutes", "3", "--out=folder"],
        ["--part", "bare", "steps", "--batch", "1", "2"],
        ["--small"],
        ["smoke", "--no-small"],
    ],
)
def test_plain_options_are_the_same_without_tyro(monkeypatch, argv):
    wanted = parse(PRESETS, argv, prog="test", description=None)
    monkeypatch.setattr(arguments, "tyro", None)
    assert parse(PRESETS, argv, prog="test", description="50 % of it") == wanted


@pytest.mark.parametrize("argv", [["--part", "all"], ["--min", "3"], ["--minutes", "long"]])
def test_what_cannot_be_is_refused_without_tyro(monkeypatch, capsys, argv):
    monkeypatch.setattr(arguments, "tyro", None)
    with pytest.raises(SystemExit):
        parse(PRESETS, argv, prog="test", description=None)
    assert "test: error: " in capsys.readouterr().err


def test_an_option_that_is_no_plain_value_is_none_without_tyro(monkeypatch, capsys):
    monkeypatch.setattr(arguments, "tyro", None)
    assert read(vae.EXPERIMENT, "--latent-dim", "3").config.latent_dim == 3
    for option in ("--decay-epochs", "--decay-steps"):
        with pytest.raises(SystemExit):
            read(vae.EXPERIMENT, option, "3")
        assert f"unrecognized arguments: {option} 3" in capsys.readouterr().err
