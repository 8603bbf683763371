"""The studies (experiments without a training loop of their own) run as a user would run them."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import classical, features
from experiments.running.experiment import Study
from experiments.running.options import UsageError
from experiments.running.run import run
from gen_jax import data, training
from gen_jax.classical import kmeans

pytestmark = pytest.mark.smoke


def start(study: Study, folder: pathlib.Path, *options: str) -> dict:
    run(study, ["smoke", "--run-dir", str(folder), "--quiet", *options])
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def classical_run(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "classical"
    start(classical.EXPERIMENT, folder)
    return folder


def test_classical_finds_digits_and_shows_them(classical_run):
    summary = json.loads((classical_run / "summary.json").read_text())
    metrics = summary["metrics"]
    assert (summary["experiment"], summary["preset"]) == ("classical", "smoke")
    assert summary["n_params"] == 10 * 784 + 784 + 20 * 784 + 20 + 20
    for split in ("train", "test"):
        assert 0.4 < metrics[f"{split}/purity"] <= 1.0  # the most frequent class alone: 0.11
        assert 0.3 < metrics[f"{split}/nmi"] <= 1.0
    assert 0.5 < metrics["train/explained_variance_ratio"] < 1.0
    # What 20 components leave of the variance about the mean image, 0.067 a pixel.
    assert metrics["test/mse"] < 0.03
    page = (classical_run / "report.html").read_text()
    for title in (
        "Centroids",
        "What the clusters hold",
        "Principal components",
        "Explained variance",
        "Reconstructions",
        "The plane of the first two components",
    ):
        assert title in page
    with Image.open(classical_run / "pictures" / "centroids.png") as sheet:
        assert sheet.size == (10 * 29 + 1, 29 + 1)


def test_the_same_command_again_says_that_nothing_is_left(classical_run, capsys):
    before = {path.name: path.read_bytes() for path in classical_run.glob("*.json")}
    start(classical.EXPERIMENT, classical_run)
    assert "Nothing to do" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in classical_run.glob("*.json")} == before
    assert set(before) == {"config.json", "data.json", "environment.json", "summary.json"}


def test_another_config_on_the_same_folder_is_refused(classical_run):
    with pytest.raises(training.RunError, match="clusters: 10 -> 11"):
        start(classical.EXPERIMENT, classical_run, "--clusters", "11")


def test_classical_does_without_labels(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(random.integers(0, 256, (9, 8, 3), np.uint8)).save(photos / f"{i}.png")
    options = ["--dataset", f"folder:{photos}", "--image-size", "8", "--clusters", "3"]
    summary = start(classical.EXPERIMENT, tmp_path / "run", *options, "--components", "5")
    assert "test/purity" not in summary["metrics"]
    assert summary["metrics"]["train/inertia"] > 0


def test_a_class_that_a_cluster_does_not_hold_is_not_listed(tmp_path):
    pictures, labels = np.zeros((5, 4, 4, 1), np.uint8), np.zeros(5, np.int32)
    cats = data.ArrayDataset("cats", "train", pictures, labels, class_names=("cat",))
    clusters = np.array([0, 0, 1, 1, 1])  # and a third that is empty
    found = kmeans.Clustering(jnp.zeros((3, 16)), clusters, jnp.float32(0), jnp.int32(1))
    classical.add_clusters(tmp_path, cats, cats.take(np.arange(5)), found)
    index = json.loads((tmp_path / "pictures" / "index.json").read_text())
    assert index[1]["rows"] == [
        ["1", 3, "cat", 1.0, None, None],
        ["2", 2, "cat", 1.0, None, None],
        ["3", 0, None, None, None, None],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clusters", "0"], "--clusters must be 1 or more, got 0"),
        (["--max-images", "1"], "--max-images must be 2 or more, got 1"),
        (["--components", "785"], "--components is at most 784 for 1000 images of 784 values"),
        (["--max-images", "5"], "--clusters is at most 5 for 5 images of 784 values, got 10"),
    ],
)
def test_mistakes_are_one_line(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        start(classical.EXPERIMENT, tmp_path / "run", *options)


@pytest.fixture(scope="module")
def features_run(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "features"
    start(features.EXPERIMENT, folder)
    return folder


def test_features_are_compared_in_one_table_and_one_plot(features_run):
    metrics = json.loads((features_run / "summary.json").read_text())["metrics"]
    kinds = ["raw_pixels", "pca", "kmeans_distances", "kmeans_triangle"]
    kinds += ["autoencoder_code", "autoencoder_layer", "vae_code", "vae_layer"]
    assert set(metrics) == {f"test/accuracy_{kind}_20" for kind in kinds}
    assert all(0.2 < value < 1.0 for value in metrics.values())  # by chance: 0.1
    index = json.loads((features_run / "pictures" / "index.json").read_text())
    assert [entry["name"] for entry in index] == ["few-labels", "few-labels-table"]
    assert [row[0] for row in index[1]["rows"]][:2] == ["raw pixels", "PCA"]
    page = (features_run / "report.html").read_text()
    assert "Accuracy by number of labels" in page
    assert "VAE layer" in page


def test_the_networks_are_runs_of_their_own(features_run):
    assert training.experiment_of(features_run / "vae") == ("vae", "features")
    assert training.experiment_of(features_run / "autoencoder") == ("autoencoder", "features")
    assert list((features_run / "vae" / "checkpoints").iterdir())


def test_features_want_labels(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(30):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(photos / f"{i}.png")
    with pytest.raises(UsageError, match=r"needs labels, and folder:.* has none"):
        start(features.EXPERIMENT, tmp_path / "run", "--dataset", f"folder:{photos}")


def test_labels_that_cannot_be_balanced_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="--n-labels must be multiples of the 10 classes, got 15"):
        start(features.EXPERIMENT, tmp_path / "run", "--n-labels", "15")
