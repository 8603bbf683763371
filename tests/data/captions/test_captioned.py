"""Images with captions: which belongs to which, in every part of a set."""

import re

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions import letters

COUNTS = [1, 3, 2, 1, 2]


def captioned(**changes):
    """Five images of their number, with captions, meanings and vectors that name the image."""
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 1), np.uint8)
    own = np.repeat(np.arange(5), COUNTS)
    turn = np.concatenate([np.arange(count) for count in COUNTS])
    fields = {
        "dataset": data.ArrayDataset("numbered", "train", images, np.arange(5) % 3),
        "texts": [[f"{i} {j}" for j in range(count)] for i, count in enumerate(COUNTS)],
        "meanings": np.stack([own, turn], 1),
        "attributes": np.stack([np.arange(5), np.zeros(5, int)], 1),
        "embeddings": np.stack([own, turn, own + turn], 1) + 0.5,
        "length": 5,
    }
    return data.Captioned(**fields | changes)


def check(examples):
    """Returns the images' numbers, once every part of an example has named the same."""
    numbers = examples["image"][:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(examples["attributes"][:, 0], numbers)
    turns = np.arange(examples["tokens"].shape[1])
    for row, number in enumerate(numbers.tolist()):
        expected = turns % COUNTS[number]  # fewer captions come in turn
        texts = letters.decode(examples["tokens"][row])
        assert texts == [f"{number} {turn}" for turn in expected]
        np.testing.assert_array_equal(examples["meaning"][row, :, 0], number)
        np.testing.assert_array_equal(examples["meaning"][row, :, 1], expected)
        np.testing.assert_array_equal(examples["vector"][row, :, 2], number + expected + 0.5)
    return numbers.tolist()


def test_captions_stay_with_their_images_in_every_batch_and_part():
    dataset = captioned()
    spec = dataset.example_spec
    assert (spec.text, spec.attributes, spec.vector) == ((3, 5), 2, 3)
    assert spec.noun == "captioned images"
    assert check(dataset.take(np.array([4, 1, 1]))) == [4, 1, 1]
    part = dataset.select(np.array([3, 2, 4]), "some").select(np.array([2, 0]), "few")
    assert check(part.take(np.arange(2))) == [4, 3]
    assert part.texts == (("4 0", "4 1"), ("3 0",))
    assert (part.split, part.example_spec, len(part)) == ("few", spec, 2)
    np.testing.assert_array_equal(part.attributes[:, 0], [4, 3])
    batches = data.Batches(dataset, 2, seed=0)
    assert sorted(n for step in range(5) for n in check(batches.batch_at(step))) == [
        *sorted([*range(5)] * 2)
    ]
    relabelled = dataset.with_classes(["2", "1", "0"]).take(np.arange(5))
    assert relabelled["label"].tolist() == [2, 1, 0, 2, 1]
    assert check(relabelled) == [*range(5)]


def test_values_of_each_caption_are_given_flat_or_by_image():
    flat = captioned()
    by_image = flat.take(np.arange(5))
    same = captioned(meanings=by_image["meaning"], embeddings=by_image["vector"])
    assert same.digest == flat.digest
    check(same.take(np.arange(5)))


def test_embeddings_can_come_later_and_to_a_part():
    few = captioned(embeddings=None).select(np.array([1, 4]), "few")
    assert few.example_spec.vector is None
    assert "vector" not in few.take(np.arange(2))
    vectors = captioned().select(np.array([1, 4]), "few").take(np.arange(2))["vector"]
    assert check(few.with_embeddings(vectors).take(np.arange(2))) == [1, 4]
    assert few.with_embeddings(vectors).digest != few.digest


def test_more_captions_than_any_image_has_are_repeated():
    dataset = captioned(least_captions=4)
    assert dataset.example_spec.text == (4, 5)
    assert check(dataset.take(np.arange(5))) == [*range(5)]


def test_a_digest_changes_with_what_captions_hold():
    fields = captioned()
    texts = [list(those) for those in fields.texts]
    others = [
        captioned(texts=[["x"], *texts[1:]]),
        captioned(attributes=fields.attributes + 1),
        captioned(meanings=np.zeros((9, 2), int)),
        captioned(embeddings=np.zeros((9, 3))),
        captioned(embeddings=None),
        captioned(length=6),
        captioned(least_captions=4),
    ]
    assert len({fields.digest, *(other.digest for other in others)}) == 8
    assert captioned().digest == fields.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": [["a"]] * 4}, "the train split of numbered has 5 images and captions for 4"),
        (
            {"texts": [["a"], [], ["b"], [], ["c"]]},
            "2 of 5 images of the train split of numbered have no caption, image 1 (counted from "
            "0) the first; each needs one or more",
        ),
        (
            {"texts": [["a"], ["b"], ["c"], [], ["d"]]},
            "1 of 5 images of the train split of numbered has no caption, image 3 (counted from "
            "0) the first; each needs one or more",
        ),
        (
            {"meanings": np.zeros((8, 2), int)},
            "the meanings of the train split of numbered must be [9, size], one for each caption, "
            "or [5, 3, size], got [8, 2]",
        ),
        (
            {"meanings": np.zeros((9, 3), int)},
            "the captions of the train split of numbered speak of 3 attributes, its images have 2",
        ),
        (
            {"meanings": np.full((9, 2), -2)},
            "the meanings of the train split of numbered must be integers from -1",
        ),
        (
            {"attributes": np.full((5, 2), -1)},
            "the attributes of the train split of numbered must be integers from 0",
        ),
        (
            {"attributes": np.zeros((4, 2), int)},
            "the attributes of the train split of numbered must be [5, A], got [4, 2]",
        ),
        (
            {"embeddings": np.zeros((5, 3))},
            "the embeddings of the train split of numbered must be [9, size], one for each "
            "caption, or [5, 3, size], got [5, 3]",
        ),
        (
            {"embeddings": np.zeros((5, 3, 0))},
            "the embeddings of the train split of numbered must have a size of 1 or more, got 0",
        ),
        (
            {"embeddings": np.where(np.arange(27).reshape(9, 3) < 7, 0, np.nan)},
            "the embeddings of the train split of numbered must be finite, got nan in row 2 "
            "(counted from 0)",
        ),
        (
            {"embeddings": np.full((5, 3, 2), -np.inf)},
            "the embeddings of the train split of numbered must be finite, got -inf in row 0 "
            "(counted from 0)",
        ),
        (
            {"embeddings": np.zeros((9, 3), int)},
            "the embeddings of the train split of numbered must be float16, float32 or float64, "
            "got int64",
        ),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(data.DataError, match=f"^{re.escape(message)}$"):
        captioned(**changes)


def test_only_single_images_have_captions():
    with pytest.raises(data.DataError, match=r"holds captioned images; single images are needed$"):
        captioned(dataset=captioned())
