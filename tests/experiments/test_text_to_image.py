"""The experiments on captions, as a user would run them."""

import json
import pathlib
import shutil
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, sample, text_encoder, text_losses, text_to_image
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from experiments.text.agreement import agreement, read
from experiments.text.captions import Sentences
from experiments.text.sources import FOLDER
from gen_jax import data, training
from gen_jax.training.config import decode, encode

WORDS = ("red", "green", "blue", "dark", "bright")
TINY = ["--steps", "2", "--evaluations", "1", "--style-steps", "0", "--quiet"]


def start(command, folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(command.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet", *options])


def read_metrics(folder: pathlib.Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    return start(text_to_image, tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """40 pictures with a caption each, of one of five kinds, and vectors of the captions."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"a {WORDS[i % 5]} square"}))
    (path / "captions.jsonl").write_text("\n".join(lines))
    np.save(path / "vectors.npy", rng.normal(size=(40, 6)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def encoder(folder, tmp_path_factory) -> pathlib.Path:
    """A text encoder of the folder's captions."""
    path = tmp_path_factory.mktemp("runs") / "encoder"
    return start(text_encoder, path, "--dataset", f"captions:{folder}", "--steps", "4")


# Runs


@pytest.mark.smoke
def test_a_run_trains_its_text_encoder_and_measures_what_images_show(trained):
    metrics = read_metrics(trained)
    for part in ("test/", "test/held-out/"):
        for row in ("", "full/", "real/"):
            for name in ("digit", "slant_side", "ink", "paper", "all_said", "r_precision"):
                assert 0.0 <= metrics[f"{part}{row}{name}"] <= 1.0
        assert metrics[f"{part}fid"] > 0.0
        assert metrics[f"{part}real/ink"] == 1.0
    assert metrics["features"].startswith("gen_jax digits")
    assert training.experiment_of(trained / FOLDER) == ("text_encoder", "text_to_image")

    shown = json.loads((trained / "pictures" / "index.json").read_text())
    table = next(each for each in shown if each["name"] == "scores")
    assert [row[0] for row in table["rows"]] == [
        f"{part}, {row}"
        for part in ("test", "held-out combinations")
        for row in ("as written", "saying everything", "real images, as written")
    ]
    assert {each["name"] for each in shown} >= {
        "health",
        "samples-test",
        "samples-held-out",
        "between-sentences",
        "between-noise",
        "styles",
    }


def test_a_config_of_a_run_from_before_projections_is_that_of_joined_texts():
    content = encode(text_to_image.PRESETS["smoke"])
    del content["match"]
    assert decode(text_to_image.Config, content).match == "joined"


@pytest.mark.smoke
def test_sentences_become_rows_of_images(trained, tmp_path, capsys):
    sentences = ["--text", "a thick red seven", "--text", "a thin blue 3"]
    for name in ("a.png", "b.png"):
        out = str(tmp_path / name)
        sample.program([str(trained), *sentences, "--num", "3", "--out", out])
    said = capsys.readouterr().out
    assert "6 images of step 8" in said
    assert "Note" not in said
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (3 * 29 + 1, 2 * 29 + 1)


@pytest.mark.smoke
def test_what_of_a_sentence_is_not_read_is_said_once(trained, tmp_path):
    out = ["--num", "1", "--out", str(tmp_path / "a.png")]
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        sample.program([str(trained), "--text", "a ☃ 7", "--text", "a ☃ " + 200 * "7", *out])
    assert len(notes) == 2
    assert "letters outside the alphabet" in str(notes[0].message)
    assert "the first 128 are used" in str(notes[1].message)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("argv", "error", "words"),
    [
        ([], UsageError, "text_to_image makes images of sentences: give one or more as --text"),
        (["--text", "☃"], data.DataError, "has no letter of the alphabet"),
        (["--text", "a 7", "--num", "0"], UsageError, "--num must be 1 or more, got 0"),
    ],
)
def test_no_images_without_a_sentence_that_can_be_read(trained, argv, error, words):
    with pytest.raises(error, match=words) as refused:
        sample.program([str(trained), *argv])
    assert "\n" not in str(refused.value)


@pytest.mark.smoke
def test_evaluate_gives_the_numbers_of_the_summary(trained, tmp_path, capsys):
    evaluate.program([str(trained), "--out", str(tmp_path / "numbers.json")])
    assert "test captioned images of captioned-digits" in capsys.readouterr().out
    again = json.loads((tmp_path / "numbers.json").read_text())
    written = read_metrics(trained)
    assert list(again) == list(written)
    for name, value in written.items():
        assert again[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5))
    evaluate.program([str(trained / FOLDER), "--out", str(tmp_path / "encoder.json")])
    found = json.loads((tmp_path / "encoder.json").read_text())
    assert {"test/text_precision", "test/held-out/r_precision"} <= found.keys()


@pytest.mark.smoke
def test_captions_that_do_not_speak_of_digits_are_refused(trained, folder):
    with pytest.raises(UsageError, match="say 6 attributes; these sentences say 2"):
        evaluate.program([str(trained), "--dataset", f"captions:{folder}", "--image-size", "28"])


@pytest.mark.smoke
def test_text_applies_to_no_other_run(trained):
    words = r"--text applies only to a run of text_to_image \(here: text_encoder\)"
    with pytest.raises(UsageError, match=words):
        sample.program([str(trained / FOLDER), "--text", "a 7"])
    with pytest.raises(UsageError, match="text_encoder is not a generative model"):
        sample.program([str(trained / FOLDER)])


@pytest.mark.smoke
def test_a_given_text_encoder_is_copied(folder, encoder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(encoder, source)
    options = ["--dataset", f"captions:{folder}", "--text-encoder", str(source), *TINY]
    made = start(text_to_image, tmp_path / "run", *options)
    shutil.rmtree(source)
    metrics = read_metrics(made)
    assert {"test/r_precision", "test/retrieved", "test/fid"} <= metrics.keys()
    assert "test/ink" not in metrics
    moved = shutil.move(made, tmp_path / "moved")
    out = tmp_path / "a.png"
    sample.program([str(moved), "--text", "a red square", "--num", "2", "--out", str(out)])
    assert out.exists()


@pytest.mark.smoke
def test_captions_with_vectors_of_their_own_need_no_text_encoder(folder, tmp_path):
    vectors = folder / "vectors.npy"
    options = ["--dataset", f"captions:{folder}", "--text-embeddings", str(vectors), *TINY]
    made = start(text_to_image, tmp_path / "run", *options)
    assert not (made / FOLDER).exists()
    assert read_metrics(made)["test/fid"] > 0.0
    evaluate.program([str(made)])
    with pytest.raises(UsageError, match="captions were embedded elsewhere, in "):
        sample.program([str(made), "--text", "a red square"])


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["--objective", "cls", "--beta", "0.3"], UsageError, "--beta applies only to --objective"),
        (["--beta", "1.5"], UsageError, r"--beta must lie in \[0, 1\], got 1.5"),
        (["--text-embeddings", "x.npy"], UsageError, "only to --dataset captions:..."),
        (["--text-encoder", "nowhere"], training.RunError, "nowhere is not a run folder"),
        (["--image-size", "32"], data.DataError, "captioned-digits are 28×28 in RGB"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(tmp_path, options, error, words):
    with pytest.raises(error, match=words) as refused:
        start(text_to_image, tmp_path / "run", *options)
    assert "\n" not in str(refused.value)
    assert not [each for each in (tmp_path / "run").glob("*") if not each.name.startswith(".")]


@pytest.mark.smoke
def test_a_text_encoder_of_other_captions_is_refused(folder, encoder, tmp_path):
    options = ["--text-encoder", str(encoder), *TINY]
    with pytest.raises(UsageError, match=r"images of 8×8×3, and those of captioned-digits are 28"):
        start(text_to_image, tmp_path / "digits", *options)
    options += ["--dataset", f"captions:{folder}", "--letters", "90"]
    with pytest.raises(UsageError, match="reads 128 letters, not 90: give --letters 128"):
        start(text_to_image, tmp_path / "letters", *options)
    assert not [*tmp_path.glob("*/[!.]*")]


@pytest.mark.smoke
def test_objectives_are_compared_beside_one_text_encoder(folder, encoder, tmp_path):
    options = ["--dataset", f"captions:{folder}", "--text-encoder", str(encoder)]
    made = start(text_losses, tmp_path / "run", *options)
    metrics = read_metrics(made)
    for objective in text_losses.NAMES:
        assert metrics[f"test/{objective}/fid"] > 0.0
        assert 0.0 <= metrics[f"test/{objective}/retrieved"] <= 1.0
        config: Any = reopen(made / objective).config
        assert (config.objective, config.seed, config.features) == (objective, 0, 2)
    picture, table = json.loads((made / "pictures" / "index.json").read_text())
    assert picture["name"] == "models"
    assert [row[0] for row in table["rows"]] == [
        *(f"{name}, test, as written" for name in text_losses.NAMES.values()),
        "test, real images, as written",
    ]
    of_real = [name for name in metrics if "real" in name.split("/")]
    assert of_real == ["test/real/r_precision"]  # once: no model made them


# Scores


@pytest.mark.parametrize("split", ["test", "held-out"])
def test_real_images_show_what_their_sentences_say(split):
    real = Sentences.of(data.load_captions("captioned-digits", split), 300)
    for sentences in (real, real.saying_all(seed=0)):
        found = agreement(sentences.meaning, read(sentences.image).attributes)
        assert found["ink"] == found["paper"] == found["thickness"] == 1.0
        assert min(found["digit"], found["slant"], found["slant_side"], found["width"]) > 0.97


def test_sentences_that_say_everything_are_read_as_all_that_is_true():
    real = Sentences.of(data.load_captions("captioned-digits", "test"), 50)
    full = real.saying_all(seed=0)
    np.testing.assert_array_equal(full.meaning, real.attributes)
    assert len(set(full.texts)) > 40
    assert full.texts == real.saying_all(seed=0).texts != real.saying_all(seed=1).texts


def test_agreement_is_that_of_what_is_said():
    said = np.array([[7, -1, 0, -1, 2, -1], [3, -1, 1, -1, -1, -1], [-1, -1, 2, -1, 2, -1]])
    shown = np.array([[7, 0, 0, 1, 2, 1], [5, 2, 0, 0, 1, 1], [4, 0, 2, 2, 3, 0]])
    assert agreement(said, shown) == {
        "digit": 1 / 2,
        "slant": 2 / 3,
        "ink": 1 / 2,
        "slant_side": 1.0,  # upright is no side
        "all_said": 1 / 3,
    }


def test_sentences_are_drawn_in_turn_and_belong_to_their_images():
    captions = data.load_captions("captioned-digits", "test")
    found = Sentences.of(captions, 10)
    rows = data.spread(len(captions), 10)
    assert list(found.texts) == [captions.texts[row][i % 5] for i, row in enumerate(rows)]
    tokens = captions.take(rows)["tokens"]
    np.testing.assert_array_equal(found.tokens[7], tokens[7, 2])
    said = found.meaning >= 0
    np.testing.assert_array_equal(found.meaning[said], found.attributes[said])
