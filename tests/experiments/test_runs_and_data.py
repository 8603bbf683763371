"""What a run knows of its data, and what it needs of it."""

import dataclasses
import itertools
import json
import pathlib
import shutil
import tarfile

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import autoencoder, evaluate, pixelcnn, sample, vae
from experiments.running.experiment import Splits
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from gen_jax import data, training

pytestmark = pytest.mark.smoke
TINY = ["--batch-size", "8", "--steps", "2", "--evaluations", "1"]
VAE = [*TINY, "--hidden", "8", "--nll-samples", "8", "--nll-images", "4", "--seed", "1"]
PIXELS = [*TINY, "--layers", "1", "--features", "4", "--head-features", "4"]
PIXELS += ["--compared-images", "4", "--nll-images", "8"]


def start(command, folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(command.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet", *options])


def write_images(folder: pathlib.Path, names: list[str], size: int = 8) -> None:
    for i, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (size, size), np.uint8)
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, [f"{kind}/{i}" for kind in ("cat", "dog", "owl") for i in range(12)])
    return folder


@pytest.fixture(scope="module")
def vae_run(photos, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    return start(vae, folder, *VAE, "--dataset", f"folder:{photos}")


def test_images_added_between_two_starts_are_noticed(vae_run, photos, tmp_path):
    more, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, more)
    start(vae, folder, *VAE, "--dataset", f"folder:{more}")
    before = (folder / "config.json").read_bytes()
    write_images(more, ["cat/new", "dog/new", "cat/newer", "dog/newer"])
    again = [*VAE, "--dataset", f"folder:{more}", "--steps", "3"]
    with pytest.raises(training.RunError) as refused:
        start(vae, folder, *again)
    assert "train.examples: 28 -> 32" in str(refused.value)
    assert "--accept-changed-data" in str(refused.value)
    assert (folder / "config.json").read_bytes() == before
    start(vae, folder, *again, "--accept-changed-data")
    assert json.loads((folder / "summary.json").read_text())["steps"] == 3
    start(vae, folder, *again)  # from now on they are its data


def test_an_image_written_again_with_the_same_size_in_bytes_is_other_data_for_arrays(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    path = tmp_path / "set.npz"
    np.savez(path, images=images)
    folder = start(
        autoencoder,
        tmp_path / "run",
        *TINY,
        "--network",
        "dense",
        "--hidden",
        "8",
        "--dataset",
        f"npz:{path}",
    )
    images[0, 0, 0] ^= 1
    np.savez(path, images=images)
    with pytest.raises(training.RunError, match="digest"):
        start(
            autoencoder,
            folder,
            *TINY,
            "--network",
            "dense",
            "--hidden",
            "8",
            "--dataset",
            f"npz:{path}",
            "--steps",
            "3",
        )


def test_a_model_is_sampled_and_measured_without_its_training_data(photos, tmp_path, capsys):
    gone, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, gone)
    start(pixelcnn, folder, *PIXELS, "--dataset", f"folder:{gone}")
    shutil.rmtree(gone)
    sample.program([str(folder), "--num", "3", "--out", str(tmp_path / "three.png")])
    assert "3 images" in capsys.readouterr().out
    evaluate.program([str(folder), "--dataset", f"folder:{photos}"])
    assert "test/nll" in capsys.readouterr().out
    with pytest.raises(data.DataError, match="there is no folder"):
        evaluate.program([str(folder)])


def test_evaluate_speaks_of_images_where_sizes_differ(vae_run, tmp_path, capsys):
    write_images(tmp_path / "large", [f"cat/{i}" for i in range(6)], size=12)
    other = ["--dataset", f"folder:{tmp_path / 'large'}"]
    with pytest.raises(UsageError, match=r"images of 8×8×1, but those of folder:.* are 12×12×1"):
        evaluate.program([str(vae_run), *other])
    evaluate.program([str(vae_run), *other, "--image-size", "8"])
    assert "test/elbo" in capsys.readouterr().out


def test_evaluate_matches_classes_by_name(photos, tmp_path):
    """A set of owls alone: its first class is the model's third."""
    folder = start(pixelcnn, tmp_path / "run", *PIXELS, "--dataset", f"folder:{photos}")
    opened = reopen(folder)
    for kind in ("owl", "wren"):
        write_images(
            tmp_path / kind, [f"{part}/{kind}/{i}" for part in ("train", "test") for i in range(3)]
        )
    owls = opened.test_set(f"folder:{tmp_path / 'owl'}")
    assert set(owls.take(np.arange(len(owls)))["label"].tolist()) == {2}
    with pytest.raises(data.DataError, match="wren"):
        opened.test_set(f"folder:{tmp_path / 'wren'}")


def test_evaluate_refuses_test_images_that_are_not_those_held_out(photos, tmp_path):
    mine, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, mine)
    start(vae, folder, *VAE, "--dataset", f"folder:{mine}")
    write_images(mine, ["cat/a", "cat/b", "cat/c", "cat/d"])
    with pytest.raises(training.RunError, match="have changed since training"):
        evaluate.program([str(folder)])
    evaluate.program([str(folder), "--dataset", f"folder:{mine}"])


def test_a_batch_larger_than_the_set_stays_what_the_config_says(photos, tmp_path, capsys):
    options = [*VAE, "--dataset", f"folder:{photos}", "--batch-size", "40"]
    folder = start(vae, tmp_path / "run", *options)
    assert "A step reads 40 examples and the training set has 28" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["config"]["batch_size"] == 40


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_images_say_how_many_are_needed(tmp_path, n):
    write_images(tmp_path / "few", [str(i) for i in range(n)])
    with pytest.raises(data.DataError, match="3"):
        start(vae, tmp_path / "run", *VAE, "--dataset", f"folder:{tmp_path / 'few'}")
    assert not (tmp_path / "run").exists()


def test_splits_of_different_sizes_are_refused_before_the_first_step(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(
        path,
        train_images=np.zeros((20, 8, 8), np.uint8),
        test_images=np.zeros((20, 9, 8), np.uint8),
    )
    with pytest.raises(data.DataError, match="images differ in size"):
        start(vae, tmp_path / "run", *VAE, "--dataset", f"npz:{path}")
    assert not (tmp_path / "run").exists()


def test_a_class_that_only_the_test_set_has_is_refused_before_the_first_step(tmp_path):
    path = tmp_path / "set.npz"
    labels = np.arange(20) % 2
    images = np.zeros((20, 8, 8), np.uint8)
    np.savez(
        path, train_images=images, train_labels=labels, test_images=images, test_labels=labels + 1
    )
    with pytest.raises(data.DataError, match="2"):
        start(pixelcnn, tmp_path / "run", *PIXELS, "--dataset", f"npz:{path}")
    start(vae, tmp_path / "vae", *VAE, "--dataset", f"npz:{path}")  # which reads no labels


def test_labels_that_are_ids_are_counted(tmp_path):
    path, ids = tmp_path / "set.npz", np.array([7, 39_000_000, 12])
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(path, images=images, labels=ids[np.arange(60) % 3])
    folder = start(pixelcnn, tmp_path / "run", *PIXELS, "--dataset", f"npz:{path}")
    assert reopen(folder).setup is not None
    assert json.loads((folder / "data.json").read_text())["example"]["class_names"] == [
        "7",
        "12",
        "39000000",
    ]


# The learning rate's schedule


def test_by_default_a_schedule_spans_the_length_that_the_run_is_first_started_with(
    tmp_path, capsys
):
    options = [*PIXELS, "--image-size", "8", "--decay-epochs", "run"]
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    start(pixelcnn, parts, *options, "--steps", "4")
    first = training.load_config(pixelcnn.Config, parts)
    assert first.decay_span(9000) == 4
    assert "learning rate" not in capsys.readouterr().out
    start(pixelcnn, parts, *options, "--steps", "6")
    assert "The learning rate is 0 from step 4 to step 6" in capsys.readouterr().out
    assert training.load_config(pixelcnn.Config, parts).decay_span(9000) == 4

    # Another span is another run: equal only where the span says so.
    start(pixelcnn, whole, *options, "--steps", "6")
    assert digest(whole) != digest(parts)
    given = [*options[:-1], str(4 * 8 / 9000), "--steps", "6"]
    assert digest(start(pixelcnn, tmp_path / "given", *given)) == digest(parts)


def test_a_longer_run_trains_to_its_end():
    presets = [pixelcnn.PRESETS[name].presets.values() for name in ("default", "paper")]
    for preset in itertools.chain(*presets):
        longer = dataclasses.replace(preset, steps=5000, epochs=None).with_decay(None, 9000)
        rate = longer.rate(9000)
        assert float(rate(4900)) > 0.0


def digest(folder: pathlib.Path) -> str:
    return json.loads((folder / "summary.json").read_text())["params_digest"]


# Runs of an earlier version


@pytest.fixture
def earlier(tmp_path) -> pathlib.Path:
    """A VAE and a PixelCNN after four steps, saved by version 0.1.0's first commits: their
    configs hold options that did nothing, and there is no record of their data."""
    archive = pathlib.Path(__file__).with_name("earlier_runs.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    return tmp_path


EARLIER = {
    "vae": (vae, ["--hidden", "8", "--nll-samples", "8"]),
    "pixelcnn": (
        pixelcnn,
        ["--layers", "1", "--features", "4", "--head-features", "4", "--decay-epochs", "0.02"]
        + ["--compared-images", "4", "--ema-decay", "0.9"],
    ),
}


@pytest.mark.parametrize("name", EARLIER)
def test_a_run_of_an_earlier_version_resumes_and_samples(earlier, tmp_path, name):
    command, options = EARLIER[name]
    options = [*options, "--image-size", "8", "--batch-size", "16", "--keep", "1"]
    options += ["--nll-images", "8", "--evaluations", "1"]
    sample.program([str(earlier / name), "--num", "2", "--out", str(tmp_path / "two.png")])
    start(command, earlier / name, *options, "--steps", "8")
    start(command, tmp_path / "whole", *options, "--steps", "8")
    resumed, whole = (
        training.restore(folder)["params"] for folder in (earlier / name, tmp_path / "whole")
    )
    # To the bit on the machine that saved it; on others up to their rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), resumed, whole)
    assert (earlier / name / "data.json").exists()


# A set that is sorted by class


class Watched(data.ArrayDataset):
    """An array data set that notes the classes of what is read."""

    def take(self, indices):
        examples = super().take(indices)
        SEEN.update(examples["label"].tolist())
        return examples

    def select(self, indices, split):
        part = super().select(indices, split)
        part.__class__ = Watched
        return part


SEEN: set[int] = set()


def test_some_images_of_a_sorted_set_are_of_every_class():
    """Data-dependent starts, validation, which picks the best checkpoint, and pictures."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), np.uint8)
    names = ("cat", "dog", "owl", "wren")
    part = Watched("sorted", "x", pixels, np.repeat(np.arange(4), 20), class_names=names)
    splits = Splits(part, part, part)
    smoke = {"steps": 1, "image_size": 8, "batch_size": 8}
    tiny = dataclasses.replace(
        pixelcnn.PRESETS["smoke"].presets["none"],
        layers=1,
        features=4,
        head_features=4,
        validation_images=8,
    )
    setup = pixelcnn.EXPERIMENT.setup(tiny, part.example_spec, 80)
    SEEN.clear()
    state = setup.init(part)
    assert {0, 1, 2, 3} == SEEN
    SEEN.clear()
    setup.validate(state, splits)
    assert {0, 1, 2, 3} == SEEN
    config = dataclasses.replace(autoencoder.PRESETS["smoke"], hidden=(8,), code_dim=2, **smoke)
    setup = autoencoder.EXPERIMENT.setup(config, part.example_spec, 80)
    state = setup.init(part)
    SEEN.clear()
    setup.film(state, splits)
    assert {0, 1, 2, 3} == SEEN
