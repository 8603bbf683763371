"""Images completed by an autoregressive model: how they are drawn, measured and shown."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from experiments import evaluate, pix2pix, pixelcnn, sample, translate
from experiments.pixels.completion_setup import measure
from experiments.pixels.completions import (
    Completer,
    answers,
    calibration,
    colourless_bits,
    exchanged,
)
from experiments.running.options import UsageError, parse
from experiments.running.run import run
from experiments.translation.tasks import TASKS
from gen_jax import autoregressive, training
from gen_jax.data.translation.conditions import Gray, Hole
from gen_jax.densities import Bernoulli, Categorical
from gen_jax.reporting.pictures import read_entries

DRAWN = ("one-draw", "mean-of-3", "best-of-3-by-likelihood", "best-of-3-by-PSNR")
SMALL = ["--quiet", "--image-size", "8"]


def start(command, folder: Path, *options: str) -> Path:
    return run(command.EXPERIMENT, ["smoke", "--run-dir", str(folder), *SMALL, *options])


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def levels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# Whole runs


@pytest.fixture(scope="module")
def colorize(tmp_path_factory) -> Path:
    return start(pixelcnn, tmp_path_factory.mktemp("runs") / "colorize", "--task", "colorize")


@pytest.mark.smoke
@pytest.mark.slow
@pytest.mark.parametrize("task", ["colorize", "super-resolve-2", "inpaint"])
def test_a_task_is_trained_measured_and_shown(request, tmp_path, task):
    if task == "colorize":
        folder = request.getfixturevalue("colorize")
    else:
        folder = start(pixelcnn, tmp_path / "run", "--task", task)
    metrics = read_metrics(folder)
    baselines = [name.replace(" ", "-") for name in TASKS[task].baselines]
    for row in (*DRAWN, *baselines):
        for name in ("l1", "psnr", "ab_error", "colourfulness"):
            assert np.isfinite(metrics[f"test/{row}/{name}"])
    assert metrics["test/best-of-3-by-PSNR/psnr"] >= metrics["test/one-draw/psnr"]
    kinds = {"own", "other", "drawn"} | ({"colourless"} if task == "colorize" else set())
    bits = "completed/bits_per_dim/"
    assert {name for name in metrics if name.startswith(bits)} == {bits + kind for kind in kinds}
    assert metrics["test/bits_per_dim"] > 0.0
    assert (metrics["completed/images"], metrics["completed/draws"]) == (4, 3)
    entries = {entry.name: entry for entry in read_entries(folder)}
    assert set(entries) == {"completions", "test-scores", "likelihoods"}
    names = [row[0] for row in entries["test-scores"].rows]
    assert names == [n.replace("-", " ") for n in (*DRAWN, *baselines, "truth")]
    with Image.open(folder / "pictures" / "completions.png") as picture:
        assert picture.size[0] == 5 * 9 + 1 + 2  # a source, three draws, the truth, framed
    saved = json.loads((folder / "config.json").read_text())["config"]
    assert saved["task"] == task
    assert not {"class_conditional", "compared_images"} & set(saved)


@pytest.mark.smoke
@pytest.mark.slow
def test_evaluation_repeats_the_numbers_beside_a_pix2pix_of_the_same_task(
    colorize, tmp_path, capsys
):
    tiny = ["--features", "1", "--batch-size", "2", "--watched", "2", "--steps", "1"]
    rival = start(pix2pix, tmp_path / "pix2pix", "--task", "colorize", *tiny)
    out = tmp_path / "numbers.json"
    evaluate.program([str(colorize), "--beside", str(rival), "--out", str(out)])
    found = json.loads(out.read_text())
    beside = {name for name in found if name.startswith("test/pix2pix/")}
    assert {"test/pix2pix/psnr", "test/pix2pix/l1"} <= beside
    assert {n: v for n, v in found.items() if n not in beside} == read_metrics(colorize)
    with pytest.raises(UsageError, match=r"a pix2pix run of --task inpaint: .* is one of colorize"):
        start(pixelcnn, tmp_path / "run", "--task", "inpaint", "--beside", str(rival))
    with pytest.raises(UsageError, match=r"--beside: .* of 'pixelcnn'; this works for pix2pix"):
        evaluate.program([str(colorize), "--beside", str(colorize)])


@pytest.mark.smoke
@pytest.mark.slow
def test_a_run_completes_pictures_of_its_own_size(colorize, tmp_path):
    picture, out = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(levels(8, 8, 3)).save(picture)
    command = [str(colorize), "--input", str(picture), "--output", str(out), "--quiet"]
    translate.program([*command, "--draws", "2"])
    drawn = []
    for draw in (1, 2):
        with Image.open(out / f"a-{draw}.png") as made:
            drawn.append(np.asarray(made))
    assert drawn[0].shape == (8, 8, 3)
    assert not np.array_equal(*drawn)
    Image.fromarray(levels(8, 9, 3)).save(picture)
    with pytest.raises(
        UsageError, match=r"a\.png would become an image of 8×9 pixels, .* of 8×8 .* run of pix2pix"
    ):
        translate.program([*command, "--overwrite"])
    with pytest.raises(UsageError, match="use python -m experiments\\.translate"):
        sample.program([str(colorize)])


# Options


def test_a_run_without_a_task_is_what_it_was():
    usual = parse(pixelcnn.PRESETS, [], prog="x", description=None).config
    assert usual == pixelcnn.PRESETS["default"].presets["none"]
    assert (usual.task, usual.model, usual.dataset) == ("none", "gated", "mnist-subset")
    saved = training.config.encode(usual)
    new = {"task", "encoder", "encoder_features", "completed_images", "draws", "beside"}
    assert new & set(saved) == {"task"}
    del saved["task"]  # as it was saved before there were tasks
    assert training.config.decode(pixelcnn.Config, saved) == usual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "3"], "--draws applies only to a --task"),
        (["--encoder", "residual"], "--encoder applies only to a --task"),
        (
            ["--task", "inpaint", "--encoder", "none", "--encoder-features", "3"],
            "--encoder-features applies only to a --task, with an --encoder other than none",
        ),
        (
            ["--task", "inpaint", "--class-conditional"],
            r"--class-conditional applies only to --task none \(here: --task inpaint\)",
        ),
        (["--task", "inpaint", "--draws", "0"], "--draws must be 1 or more, got 0"),
        (["--task", "colorize", "--dataset", "mnist-subset"], "images in colour"),
    ],
)
def test_options_that_do_not_fit_a_task_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        start(pixelcnn, tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


# Draws


def untrained(likelihood, image: np.ndarray, source: np.ndarray, encoder):
    model = autoregressive.PixelCNN(
        likelihood, layers=1, features=4, head_features=4, first_kernel=3, condition=encoder
    )
    cond = autoregressive.Condition(spatial=jnp.asarray(source))  # type: ignore[call-arg]
    return autoregressive.init(
        model, optax.sgd(1e-3), jax.random.key(0), jnp.asarray(image), cond=cond
    )


@pytest.mark.parametrize("n_levels", [2, 256])
def test_known_pixels_are_kept_exactly_and_only_hidden_ones_are_scored(n_levels):
    density = Bernoulli("threshold") if n_levels == 2 else Categorical(256)
    image = levels(3, 6, 6, 1)
    image[image == Hole.level] += 1
    hole = Hole()
    source = hole(image, np.arange(3))
    state = untrained(density, image, source, autoregressive.ResidualEncoder(4, blocks=1))
    completer = Completer(1, hole.hides, chunk=4)
    drawn = completer.draws(jax.random.key(1), state, source, 2)
    hidden = np.asarray(hole.hides(source))
    assert drawn.shape == (2, 3, 6, 6, 1)
    assert hidden.sum() == 3 * 9
    np.testing.assert_array_equal(drawn[:, ~hidden], np.stack([image[~hidden]] * 2))
    assert not np.array_equal(drawn[0], drawn[1])
    # The chain rule: the likelihood of what was hidden, given all the rest, is that of the draws.
    value = density.quantize(jnp.asarray(image))
    log_p = autoregressive.objective.value_log_prob(
        state.model,  # type: ignore[arg-type]
        state.params,
        value,
        cond=autoregressive.Condition(spatial=jnp.asarray(source)),  # type: ignore[call-arg]
    )
    nats = -np.where(hidden, np.asarray(log_p), 0.0).sum((1, 2, 3))
    found = completer.bits_per_dim(state, image, source)
    np.testing.assert_allclose(found, nats / 9.0 / np.log(2.0), rtol=1e-5)


def test_a_picture_is_completed_by_its_own_key_alone():
    image, source = levels(3, 5, 5, 1), levels(3, 5, 5, 1, seed=1)
    state = untrained(Categorical(4), image, source, None)
    completer = Completer(1, None, chunk=4)
    keys = jax.random.split(jax.random.key(0), 3)
    whole = completer.by_keys(state, jax.random.clone(keys), source)
    alone = completer.by_keys(state, jax.random.clone(keys)[2:], source[2:])
    np.testing.assert_array_equal(whole[2:], alone)
    other = completer.by_keys(state, jax.random.clone(keys)[1:2], source[2:])
    assert not np.array_equal(other, alone)


# Scores


def test_each_answer_is_the_one_that_its_name_says():
    target = np.full((2, 4, 4, 1), 100, np.uint8)
    offsets = np.array([[30, 0], [10, 20], [20, 40]])  # by draw and source
    drawn = (target + offsets[..., None, None, None]).astype(np.uint8)
    bits = np.array([[1.0, 2.0], [3.0, 3.0], [2.0, 1.0]])
    found = answers(drawn, bits, target)
    off = {name: (made - target)[:, 0, 0, 0].tolist() for name, made in found.items()}
    assert off == {
        "one draw": [30, 0],
        "mean of 3": [20, 20],
        "best of 3 by likelihood": [30, 40],
        "best of 3 by PSNR": [10, 0],
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Knowing(Completer):
    """Draws the truth."""

    truth: np.ndarray = dataclasses.field(default_factory=lambda: levels(4, 16, 16, 3))

    def draws(self, key, state, source, n):
        return np.stack([self.truth] * n)

    def bits_per_dim(self, state, image, source):
        known = np.all(source == Gray()(image, np.arange(len(image))), axis=(1, 2, 3))
        return np.where(known, 0.0, 8.0)


@dataclasses.dataclass(frozen=True)
class State:
    key: object = None


@pytest.mark.parametrize("n_levels", [None, 16])
def test_a_model_that_knows_the_truth_is_as_good_as_it(n_levels):
    completer = Knowing(3, None, chunk=4)
    source = Gray()(completer.truth, np.arange(4))
    examples = {"image": completer.truth, "spatial": source}
    task = dataclasses.replace(TASKS["colorize"])
    found = measure(
        completer,
        jax.random.key(0),
        State(),  # type: ignore[arg-type]
        examples,
        task,
        draws=3,
        levels=n_levels,
        rival=lambda gray: 255 - completer.truth,
    )
    for row in DRAWN:
        assert (found[f"test/{row}/l1"], found[f"test/{row}/psnr"]) == (0.0, 100.0)
        assert found[f"test/{row}/ssim"] == pytest.approx(1.0)
        assert found[f"test/{row}/colourfulness"] == found["test/truth/colourfulness"]
    assert found["test/identity/colourfulness"] == pytest.approx(0.0, abs=1e-4)
    assert found["test/pix2pix/psnr"] < found["test/identity/psnr"]
    assert found["completed/bits_per_dim/own"] == 0.0
    assert found["completed/bits_per_dim/other"] == 8.0
    assert found["completed/bits_per_dim/drawn"] == 0.0
    assert found["completed/likelier"] == 0.5
    colourless = found.get("completed/bits_per_dim/colourless")  # none of black and white
    assert colourless == (n_levels and colourless_bits(source, n_levels))


def test_calibration_counts_the_draws_that_are_likelier_than_the_truth():
    own, other = np.array([2.0, 4.0]), np.array([5.0, 7.0])
    drawn = np.array([[1.0, 5.0], [2.0, 6.0]])
    assert calibration(own, other, drawn) == (3.0, 6.0, 3.5, (1 + 0.5) / 4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_no_image_is_given_its_own_source(n):
    image, source = levels(n, 4, 4, 3), levels(n, 4, 4, 1)
    same, moved = exchanged(image, source, None)
    np.testing.assert_array_equal(same, image)
    assert sorted(x.tobytes() for x in moved) == sorted(x.tobytes() for x in source)
    assert not any(np.array_equal(a, b) for a, b in zip(source, moved, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_hole_stays_where_it_is_and_others_are_around_it(channels):
    image, hole = levels(4, 8, 8, channels), Hole()
    image[:, 0, :2] = hole.level  # as a hole is, and outside of some
    source = hole(image, np.arange(4))
    hidden = hole.hides(source)
    spliced, moved = exchanged(image, source, hole)
    np.testing.assert_array_equal(hole.hides(moved), hidden)
    own = np.broadcast_to(hidden, image.shape)
    np.testing.assert_array_equal(spliced[own], image[own])
    np.testing.assert_array_equal(spliced[~own], moved[~own])
    off = np.abs(moved.astype(int) - np.roll(image, 2, axis=0))
    assert off[~own].max() <= 1


def test_a_colourless_model_shares_all_colours_out_among_the_gray_levels():
    grays = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    colours = 2.0 ** np.array([3.0 * colourless_bits(gray[None], 256) for gray in grays])
    assert colours.sum() == pytest.approx(2**24)
    dark = np.stack(np.meshgrid(*[np.arange(8, dtype=np.uint8)] * 3), -1).reshape(1, 8, 64, 3)
    assert colours[0] == pytest.approx((Gray()(dark, np.zeros(1, int)) == 0).sum())


@pytest.mark.parametrize("n_levels", [2, 5, 16])
def test_colours_of_fewer_levels_are_counted_as_such(n_levels):
    image = levels(1, 500, 600, 3)
    cells = np.asarray(Categorical(n_levels).quantize(jnp.asarray(image)))
    cells = cells.reshape(-1, 3) @ n_levels ** np.arange(3)
    grays = Gray()(image, np.zeros(1, int)).ravel()
    for gray in (40, 128, 200):
        seen = len(np.unique(cells[grays == gray]))
        level = np.full((1, 1, 1, 1), gray, np.uint8)
        found = 2.0 ** (3.0 * colourless_bits(level, n_levels))
        # Most that can occur are among the random ones, and none but those that can.
        assert 0.8 * found <= seen <= found + 1e-6
