import dataclasses
import json

import numpy as np
import pytest

from gen_jax.evaluation.provenance import Provenance, Score, difference

PROVENANCE = Provenance(
    network="digits",
    digest="0123abcd",
    dataset="mnist-subset",
    split="test",
    n_reference=10_000,
    n_samples=5_000,
    image_size=(28, 28),
    resizer="none",
)
CHANGES = {
    "network": "inception-v3",
    "digest": "0123abce",
    "dataset": "tfds:mnist",
    "split": "train",
    "n_reference": 60_000,
    "n_samples": 10_000,
    "image_size": (32, 32),
    "resizer": "bicubic",
}


def test_scores_of_one_provenance_are_compared():
    same = dataclasses.replace(PROVENANCE, image_size=[28, 28])
    assert difference(Score("fid", 3.5, PROVENANCE), Score("fid", 1.25, same)) == 2.25


def test_every_field_is_tested():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Provenance)}


@pytest.mark.parametrize("name", CHANGES)
def test_scores_of_another_provenance_are_not_compared(name):
    other = dataclasses.replace(PROVENANCE, **{name: CHANGES[name]})
    with pytest.raises(ValueError, match="cannot be compared") as error:
        difference(Score("fid", 3.0, PROVENANCE), Score("fid", 4.0, other))
    message = str(error.value)
    assert message.endswith(
        f"they differ in {name} ({getattr(PROVENANCE, name)} and {CHANGES[name]})"
    )
    assert "\n" not in message


def test_all_that_differs_is_named():
    other = dataclasses.replace(PROVENANCE, n_samples=10_000, resizer="bicubic")
    message = (
        "fid 3.5 and kid 0.004 cannot be compared, they differ in name (fid and kid), "
        "n_samples (5000 and 10000), resizer (none and bicubic)"
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- below, as plain text
        difference(Score("fid", 3.5, PROVENANCE), Score("kid", 0.004, other))
    assert str(error.value) == message


def test_scores_survive_json():
    score = Score("fid", np.float32(0.1), PROVENANCE)
    again = Score.from_dict(json.loads(json.dumps(score.to_dict())))
    assert again == score
    assert hash(again) == hash(score)
    assert difference(again, score) == 0.0


def test_nothing_of_a_score_can_be_changed():
    score = Score("fid", 1.0, PROVENANCE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.value = 0.0  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.provenance.split = "train"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": None}, "no score with name, value and provenance"),
        ({"value": True}, "no score with name, value and provenance"),
        ({"provenance": "digits"}, "no score with name, value and provenance"),
        ({"value": float("nan")}, "the score fid must be finite, got nan"),
        ({"colour": "red"}, "the score has an unknown colour"),
    ],
)
def test_what_is_no_score_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Score.from_dict({**Score("fid", 1.0, PROVENANCE).to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": "many"}, "the provenance has a wrong value of n_samples: 'many'"),
        ({"digest": None}, "the provenance has a wrong value of digest: None"),
        ({"image_size": 28}, "the provenance has a wrong value of image_size: 28"),
        ({"image_size": ["a", "b"]}, "the provenance has a wrong value of image_size"),
        ({"image_size": [28]}, r"image_size must be \(height, width\), got \(28,\)"),
        ({"n_reference": 0}, "must be 1 or more, got n_reference=0"),
        ({"seed": 3}, "the provenance has an unknown seed"),
    ],
)
def test_what_is_no_provenance_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Provenance.from_dict({**PROVENANCE.to_dict(), **change})


def test_a_provenance_with_gaps_is_refused():
    values = PROVENANCE.to_dict()
    del values["resizer"], values["digest"]
    with pytest.raises(ValueError, match="the provenance lacks digest, lacks resizer"):
        Provenance.from_dict(values)
