"""The experiments with PixelCNNs and PixelRNNs, as a user would run them."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, pixelcnn, pixelrnn, sample
from experiments.pixels.pictures import Scores
from experiments.running.experiment import Experiment
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from gen_jax import data

pytestmark = pytest.mark.smoke


def start(experiment: Experiment, folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(experiment, ["smoke", "--run-dir", str(folder), "--quiet", *options])


@pytest.fixture(scope="module")
def gated_run(tmp_path_factory) -> pathlib.Path:
    return start(pixelcnn.EXPERIMENT, tmp_path_factory.mktemp("runs") / "pixelcnn")


def read_metrics(folder: pathlib.Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def test_a_run_learns_and_shows_what_it_promises(gated_run):
    metrics = read_metrics(gated_run)
    assert metrics["binarization"] == "dynamic"
    assert metrics["test/bits_per_dim"] == pytest.approx(metrics["test/nll"] / 784 / np.log(2))
    rows = [json.loads(line) for line in (gated_run / "metrics.jsonl").read_text().splitlines()]
    nll = [row["validation/nll"] for row in rows if "validation/nll" in row]
    assert nll[-1] < nll[0]
    page = (gated_run / "report.html").read_text()
    for title in ("Samples by class", "Completions", "Likelihood by class", "Inliers and outliers"):
        assert title in page
    with Image.open(gated_run / "pictures" / "new-images.png") as picture:
        assert picture.size == (10 * 29 + 1, 10 * 29 + 1)  # a class a row


def test_completions_keep_the_half_that_was_shown(gated_run):
    with Image.open(gated_run / "pictures" / "completions.png") as picture:
        sheet = np.asarray(picture)
    tiles = [sheet[1 + 29 * r : 29 + 29 * r, 1:29] for r in range(5)]
    for row in (1, 2, 3, 4):
        np.testing.assert_array_equal(tiles[row][:14], tiles[0][:14])
    assert not np.array_equal(tiles[2][14:], tiles[3][14:])


@pytest.mark.parametrize("model", ["row-lstm", "diagonal-bilstm"])
def test_pixelrnn_runs(tmp_path, model):
    folder = start(pixelrnn.EXPERIMENT, tmp_path / model, "--model", model, "--steps", "2")
    assert read_metrics(folder)["test/nll"] > 0


@pytest.mark.parametrize(
    ("options", "likelihood"),
    [
        (["--model", "masked", "--no-class-conditional"], "bernoulli"),
        pytest.param(
            ["--model", "plus-plus", "--likelihood", "mixture", "--blocks", "1", "--stages", "1"],
            "mixture over 256 levels",
            marks=pytest.mark.slow,
        ),
        (
            ["--likelihood", "categorical", "--levels", "4", "--compile", "pmap"],
            "categorical over 4 levels",
        ),
    ],
    ids=["masked", "plus-plus", "levels"],
)
def test_every_pixelcnn_runs(tmp_path, options, likelihood):
    folder = start(pixelcnn.EXPERIMENT, tmp_path / "run", *options, "--steps", "4")
    metrics = read_metrics(folder)
    assert np.isfinite(metrics["test/nll"])
    assert metrics["likelihood"] == likelihood


def test_evaluate_refuses_what_does_nothing_to_a_run(gated_run, tmp_path):
    with pytest.raises(UsageError, match=r"--beside applies only to a --task$"):
        evaluate.program([str(gated_run), "--beside", str(tmp_path)])


def test_a_run_is_sampled_in_chunks_and_evaluated_again(gated_run, tmp_path):
    out = tmp_path / "sheet.png"
    sample.program([str(gated_run), "--num", "6", "--out", str(out)])
    with Image.open(out) as picture:
        assert picture.size == (3 * 29 + 1, 2 * 29 + 1)
    opened = reopen(gated_run)
    assert opened.setup.draw is not None
    key = jax.random.key(0)
    whole = opened.setup.draw(key, opened.state, 5)
    chunked = reopen(gated_run, chunk=2).setup.draw(key, opened.state, 5)
    np.testing.assert_array_equal(chunked, whole)
    numbers = tmp_path / "numbers.json"
    evaluate.program([str(gated_run), "--out", str(numbers)])
    assert json.loads(numbers.read_text()) == read_metrics(gated_run)


def test_the_readmes_script_draws_from_a_run(gated_run):
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    (script,) = (
        block for block in re.findall("```python\n(.*?)```", readme, re.S) if "reopen" in block
    )
    assert len(script.strip().splitlines()) <= 24
    names: dict = {}
    exec(script.replace("runs/pixelcnn/default", str(gated_run)), names)
    digits = np.asarray(names["digits"])
    assert digits.shape == (10, 28, 28, 1)
    assert set(np.unique(digits)) <= {0, 255}


def test_classes_need_labels(tmp_path):
    images = np.zeros((40, 6, 6, 1), np.uint8)
    np.savez(tmp_path / "plain.npz", images=images)
    with pytest.raises(
        UsageError, match=r"the model needs labels, and npz:.* has none; give --no-class-"
    ):
        start(pixelcnn.EXPERIMENT, tmp_path / "run", "--dataset", f"npz:{tmp_path / 'plain.npz'}")


@pytest.mark.parametrize("without", ["validation", "test"])
def test_classes_need_labels_in_every_split(tmp_path, without):
    arrays = {}
    for split in ("train", "validation", "test"):
        arrays[f"{split}_images"] = np.zeros((40, 6, 6, 1), np.uint8)
        if split != without:
            arrays[f"{split}_labels"] = np.arange(40) % 2
    np.savez(tmp_path / "digits.npz", **arrays)
    with pytest.raises(data.DataError, match=f"{without} split of npz:.* has no labels"):
        start(pixelcnn.EXPERIMENT, tmp_path / "run", "--dataset", f"npz:{tmp_path / 'digits.npz'}")
    assert not list((tmp_path / "run").rglob("metrics.jsonl"))


def test_an_images_likelihood_is_the_mean_over_classes(gated_run, monkeypatch):
    opened = reopen(gated_run)
    scores = Scores(opened.state, jax.random.key(0))
    nll = np.array([[1.0, 2.0], [3.0, 3.0], [2000.0, 1000.0]])
    monkeypatch.setattr(scores, "by_class", lambda image: nll[image])
    expected = [-np.log((np.exp(-1.0) + np.exp(-2.0)) / 2.0), 3.0, 1000.0 + np.log(2.0)]
    np.testing.assert_allclose(scores.over_classes(np.arange(3)), expected)
    assert "p(x) is the mean of p(x | class)" in (gated_run / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kernel", "4"], "--kernel must be odd and 3 or more, got 4"),
        (["--first-kernel", "1"], "--first-kernel must be odd and 3 or more, got 1"),
        (["--levels", "1"], r"--levels must lie in 2\.\.256, got 1"),
        (["--dropout", "1"], r"--dropout must lie in \[0, 1\), got 1\.0"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        start(pixelcnn.EXPERIMENT, tmp_path / "run", *options)
