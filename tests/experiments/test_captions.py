"""The captions that experiments work on, and how their vectors and splits are made ready."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import text_encoder
from experiments.running.options import UsageError
from experiments.text.captions import CaptionsConfig, Sentences, open_captions, unit_mean_square
from experiments.text.scores import Scorer
from experiments.text.sources import VectorsConfig


def folder_of(path: pathlib.Path, **counts: int) -> str:
    """A folder of so many captioned pictures of each split; returns its SPEC."""
    lines = []
    for split, count in counts.items():
        (path / split).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((6, 6, 3), 40 * i, np.uint8)).save(path / split / f"{i}.png")
            lines.append(json.dumps({"file_name": f"{split}/{i}.png", "text": f"{split} {i}"}))
    (path / "captions.jsonl").write_text("\n".join(lines))
    return f"captions:{path}"


def test_vectors_of_any_length_become_like_the_noise_beside_them():
    vectors = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= np.array([1.0, 1e-20, 1e20, 30.0, 0.0], np.float32)[:, None]
    found = unit_mean_square(vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.square(found).mean(1), [1, 1, 1, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(found[3] / np.linalg.norm(found[3]), vectors[3] / 30.0, rtol=1e-5)


def test_vectors_of_a_file_are_scaled_as_the_own_encoders_are(tmp_path):
    dataset = folder_of(tmp_path / "set", train=3, validation=2, test=2)
    raw = np.random.default_rng(0).normal(size=(7, 4)) * np.arange(7)[:, None]
    np.save(tmp_path / "vectors.npy", raw)
    config = VectorsConfig(dataset=dataset, text_embeddings=tmp_path / "vectors.npy")
    for split, rows in (("train", raw[:3]), ("test", raw[5:])):
        found = open_captions(config, split).take(np.arange(len(rows)))["vector"][:, 0]
        np.testing.assert_allclose(found, unit_mean_square(rows), rtol=1e-6)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_one_image_is_too_few_to_measure_anything_on(tmp_path, split):
    dataset = folder_of(tmp_path / "set", **{"train": 3, "validation": 2, "test": 2, split: 1})
    options = ["smoke", "--dataset", dataset, "--run-dir", str(tmp_path / "run"), "--quiet"]
    message = rf"^captions:.*: {split} has too few captioned images .*, 1; it needs 2 or more$"
    with pytest.raises(UsageError, match=message) as error:
        text_encoder.run(text_encoder.EXPERIMENT, options)
    assert "\n" not in str(error.value)


def test_digits_are_not_read_where_sentences_do_not_speak_of_them(tmp_path):
    part = open_captions(CaptionsConfig(dataset=folder_of(tmp_path / "set", test=3)), "test")
    scorer = Scorer(None, None, digits=True, seed=0)
    with pytest.raises(UsageError, match=r"say 6 attributes; these sentences say 1$"):
        scorer.rows(lambda vectors: vectors, Sentences.of(part, 3))


def test_the_papers_encoder_is_the_one_that_images_were_made_from():
    """c512 of reedscot/icml2016: 18 steps of a GRU with 512 states after the convolutions."""
    config = text_encoder.PRESETS["paper"]
    tokens = np.zeros((1, config.letters), np.uint8)
    params = jax.eval_shape(config.networks.text.init, jax.random.key(0), tokens)["params"]
    assert [params[name]["kernel"].shape[-1] for name in ("letters", "conv_1", "conv_2")] == [
        384,
        512,
        512,
    ]
    assert params["gru"]["gates"].shape == (512, 2 * 512)
    assert params["embedding"]["kernel"].shape == (512, 1024)
