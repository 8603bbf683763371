"""Every script runs as a user would run it, with its smallest preset."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import autoencoder, evaluate, gan, sample, vae
from experiments.running.experiment import Experiment
from experiments.running.options import UsageError, parse
from experiments.running.run import run
from gen_jax import data, training

pytestmark = pytest.mark.smoke
ROOT = pathlib.Path(__file__).parents[2]


def start(experiment: Experiment, folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(experiment, ["smoke", "--run-dir", str(folder), "--quiet", *options])


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory) -> pathlib.Path:
    return start(vae.EXPERIMENT, tmp_path_factory.mktemp("runs") / "vae")


@pytest.fixture(scope="module")
def autoencoder_run(tmp_path_factory) -> pathlib.Path:
    return start(autoencoder.EXPERIMENT, tmp_path_factory.mktemp("runs") / "autoencoder")


def read_summary(folder: pathlib.Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_vae_run_folder_holds_what_it_promises(vae_run):
    summary = read_summary(vae_run)
    assert (summary["experiment"], summary["preset"]) == ("vae", "smoke")
    assert len(summary["params_digest"]) == 64
    metrics = summary["metrics"]
    assert metrics["binarization"] == "dynamic"
    assert metrics["test/nll"] > 0.0  # a probability
    assert metrics["test/bits_per_dim"] == pytest.approx(metrics["test/nll"] / 784 / np.log(2))
    assert metrics["test/elbo"] == pytest.approx(
        metrics["test/reconstruction"] - metrics["test/kl"]
    )
    page = (vae_run / "report.html").read_text()
    for title in ("learned manifold", "Reconstructions", "Exact posteriors", "Traversals"):
        assert title in page
    rows = [json.loads(line) for line in (vae_run / "metrics.jsonl").read_text().splitlines()]
    elbos = [row["validation/elbo"] for row in rows if "validation/elbo" in row]
    assert len(elbos) == 2
    assert elbos[1] > elbos[0] + 1.0  # it learns: nats an image
    assert any("train/loss" in row for row in rows)
    films = sorted(vae_run.glob("samples/step_*.png"))
    assert int(films[-1].stem.removeprefix("step_")) == summary["steps"]


def test_the_same_command_again_says_that_nothing_is_left(vae_run, capsys):
    before = (vae_run / "summary.json").read_bytes()
    start(vae.EXPERIMENT, vae_run)
    assert "Nothing to do" in capsys.readouterr().out
    assert (vae_run / "summary.json").read_bytes() == before


def test_another_config_on_the_same_folder_is_refused_with_the_difference(vae_run):
    with pytest.raises(training.RunError, match=r"learning_rate: 0\.001 -> 0\.5"):
        start(vae.EXPERIMENT, vae_run, "--learning-rate", "0.5")


@pytest.mark.slow
def test_more_steps_on_the_same_folder_equal_one_go(tmp_path):
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    start(vae.EXPERIMENT, parts, "--steps", "7")
    start(vae.EXPERIMENT, parts, "--steps", "20")
    start(vae.EXPERIMENT, whole, "--steps", "20")
    assert read_summary(parts)["params_digest"] == read_summary(whole)["params_digest"]
    assert read_summary(parts)["steps"] == 20


def test_epochs_and_steps_are_two_ways_to_say_one_thing():
    assert vae.PRESETS["smoke"].steps == 35
    config = vae.Config(epochs=2.0, batch_size=128)
    assert config.total_steps(9000) == round(2.0 * 9000 / 128)
    assert vae.Config(epochs=2.0, steps=5).total_steps(9000) == 5
    with pytest.raises(UsageError, match="--steps and --epochs"):
        run(vae.EXPERIMENT, ["smoke", "--steps", "5", "--epochs", "1"])


@pytest.mark.parametrize(
    ("argv", "steps"),
    [
        ([], 2040),
        (["--loss", "wasserstein"], 680),
        (["--loss", "wasserstein", "--d-steps", "1"], 2040),
        (["--updates", "60"], 30),
        (["--updates", "1"], 1),
        (["--steps", "7"], 7),
        (["--epochs", "2"], 200),
        (["paper", "--updates", "60"], 30),
    ],
)
def test_the_length_on_the_command_line_takes_the_place_of_the_presets(argv, steps):
    argv = [*argv, "--batch-size", "90"]
    config = parse(gan.PRESETS, argv, prog="gan", description=None).config
    assert config.total_steps(9000) == steps


def test_a_schedule_in_stages_falls_after_1_3_9_epochs():
    config = vae.Config(schedule="paper", epochs=40.0, batch_size=20, learning_rate=1e-3)
    rate = vae.learning_rate(config, n_examples=200)  # ten steps an epoch
    stage = {0: 0, 9: 0, 11: 1, 39: 1, 41: 2, 129: 2, 131: 3, 399: 3, 401: 4, 32_799: 7}
    for step, i in stage.items():
        assert float(rate(step)) == pytest.approx(1e-3 * 10 ** (-i / 7), rel=1e-5), step


def test_a_cosine_reaches_zero_after_its_epochs_however_long_the_run_is():
    choices = {"decay_epochs": 4.0, "batch_size": 20, "learning_rate": 1e-3}
    for epochs in (1.0, 8.0):
        rate = vae.learning_rate(vae.Config(epochs=epochs, **choices), n_examples=200)
        for step, share in {0: 1.0, 20: 0.5, 40: 0.0, 80: 0.0}.items():
            assert float(rate(step)) == pytest.approx(1e-3 * share, abs=1e-9), step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["smok"], "did you mean smoke"),
        (["smoke", "--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["smoke", "--epochs", "-1"], "--epochs must be positive, got -1"),
        (["smoke", "--steps", "None"], "the length is missing: give --steps or --epochs"),
        (["smoke", "--beta", "nan"], "--beta must be 0 or more, got nan"),
        (["smoke", "--features", "0", "--network", "conv"], "--features must be one or more"),
        (["smoke", "--features", "8"], "--features applies only to --network conv"),
        (["smoke", "--latent-dim", "0"], "--latent-dim must be 1 or more, got 0"),
        (
            ["smoke", "--schedule", "paper", "--decay-epochs", "1"],
            "--decay-epochs applies only to --schedule plain",
        ),
        (["smoke", "--ema-decay", "1"], "--ema-decay must lie in [0, 1), got 1.0"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(options, message):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.vae", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_faces_of_scikit_image_train(tmp_path):
    pytest.importorskip("skimage")
    options = ["--dataset", "faces-mini", "--latent-dim", "3"]
    folder = start(vae.EXPERIMENT, tmp_path / "faces", *options, "--likelihood", "gaussian")
    summary = read_summary(folder)
    assert summary["dataset"] == "faces-mini"
    assert "binarization" not in summary["metrics"]
    with Image.open(folder / "pictures" / "traversals.png") as picture:
        assert picture.height == 3 * (25 + 1) + 1  # a row for each latent dimension


@pytest.mark.parametrize("n", [12, 70])  # 1 and 7 test images
def test_a_folder_of_colour_photos_of_mixed_sizes_trains(tmp_path, n):
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(n):
        size = tuple(random.integers(40, 90, 2))
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    options = ["--dataset", f"folder:{photos}", "--image-size", "16", "--batch-size", "4"]
    options += ["--network", "conv", "--features", "4", "8", "--likelihood", "gaussian"]
    folder = start(vae.EXPERIMENT, tmp_path / "run", *options)
    assert np.isfinite(read_summary(folder)["metrics"]["test/nll"])


@pytest.mark.slow
def test_a_run_by_pmap_over_all_devices_is_that_of_jit(vae_run, tmp_path):
    assert len(jax.devices()) == 4
    spread = start(vae.EXPERIMENT, tmp_path / "pmap", "--compile", "pmap")
    ours, theirs = (read_summary(folder)["metrics"] for folder in (spread, vae_run))
    assert ours["test/elbo"] == pytest.approx(theirs["test/elbo"], rel=1e-3)


@pytest.mark.slow
def test_a_batch_that_devices_cannot_share_evenly_uses_fewer(tmp_path, capsys):
    folder = start(vae.EXPERIMENT, tmp_path / "six", "--batch-size", "6", "--steps", "3")
    assert "A batch of 6 is spread over 3 of 4 devices" in capsys.readouterr().out
    assert read_summary(folder)["steps"] == 3


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "experiments.vae", "smoke", "--steps", "4"]
    command += ["--run-dir", str(tmp_path / "run"), "--coordinator", coordinator]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = [
        subprocess.Popen(
            [*command, "--num-processes", "2", "--process-id", str(i)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "Report:" in outputs[0]
    assert "Report:" not in outputs[1]
    summary = read_summary(tmp_path / "run")
    assert "4 devices" in summary["device"]
    alone = start(vae.EXPERIMENT, tmp_path / "alone", "--steps", "4")
    ours, theirs = summary["metrics"]["test/elbo"], read_summary(alone)["metrics"]["test/elbo"]
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_autoencoder_learns_and_reports(autoencoder_run):
    metrics = read_summary(autoencoder_run)["metrics"]
    assert metrics["test/loss"] == pytest.approx(metrics["test/mse"] * 784)
    rows = (autoencoder_run / "metrics.jsonl").read_text().splitlines()
    errors = [row["validation/mse"] for row in map(json.loads, rows) if "validation/mse" in row]
    assert errors[-1] < errors[0]
    digits = data.load("mnist-subset", "test").images / 255.0
    assert metrics["test/mse"] < digits.var(axis=0).mean()  # what the mean image alone leaves
    assert "Reconstructions" in (autoencoder_run / "report.html").read_text()


def test_sample_draws_a_sheet(vae_run, tmp_path, capsys):
    out = tmp_path / "new" / "sheet.png"
    sample.program([str(vae_run), "--num", "6", "--out", str(out)])
    assert "6 images" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.size == (3 * 29 + 1, 2 * 29 + 1)  # three columns, two rows


def test_sample_says_what_it_cannot_do(vae_run, autoencoder_run, tmp_path):
    with pytest.raises(UsageError, match="--num must be 1 or more, got 0"):
        sample.program([str(vae_run), "--num", "0"])
    with pytest.raises(UsageError, match="not a generative model"):
        sample.program([str(autoencoder_run)])
    with pytest.raises(UsageError, match="cannot write"):
        sample.program([str(vae_run), "--out", str(tmp_path / "sheet.unknown")])
    with pytest.raises(training.RunError, match="not a run folder"):
        sample.program([str(tmp_path)])


def test_evaluate_repeats_the_numbers_of_the_run(vae_run, tmp_path):
    out = tmp_path / "numbers.json"
    evaluate.program([str(vae_run), "--out", str(out)])
    assert json.loads(out.read_text()) == read_summary(vae_run)["metrics"]


def test_evaluate_refuses_what_means_nothing_to_a_run(autoencoder_run):
    with pytest.raises(UsageError, match="--nll-samples does not apply to a run of 'autoencoder'"):
        evaluate.program([str(autoencoder_run), "--nll-samples", "5"])


def test_help_shows_each_example_on_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit):
        run(vae.EXPERIMENT, ["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    examples = [
        line.strip() for line in str(vae.__doc__).splitlines() if line.startswith("python -m")
    ]
    assert len(examples) > 1
    assert set(examples) <= set(lines)


def test_no_command_imports_at_its_start_what_it_may_need_at_its_end():
    code = (
        "import importlib, pathlib, sys;"
        "names = [path.stem for path in pathlib.Path('experiments').glob('*.py')];"
        "[importlib.import_module(f'experiments.{name}') for name in names];"
        "heavy = {'scipy.stats', 'matplotlib', 'orbax', 'tensorflow_datasets', 'torch', 'skimage'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_help_may_be_piped_to_a_reader_that_leaves_early():
    command = f"{sys.executable} -m experiments.vae --help | head -1"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith("usage:")
    assert done.stderr == ""
