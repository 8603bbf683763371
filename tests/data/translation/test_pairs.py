"""Images with what they are made from: row by row, in every part of a set."""

import re

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data import conditions


def numbered(n: int, *, channels: int = 1, first: int = 0, labels: bool = False, **names):
    """Images that show their own number, counted from ``first``."""
    levels = np.arange(first, first + n, dtype=np.uint8)[:, None, None, None]
    images = levels * np.ones((1, 4, 6, channels), np.uint8)
    names = {"name": "numbered", "split": "train", **names}
    return data.ArrayDataset(**names, images=images, labels=np.arange(n) % 3 if labels else None)


def test_rows_belong_together_in_every_batch_and_part():
    pairs = data.Paired(numbered(20, channels=3, labels=True), numbered(20, first=100), name="both")
    assert (pairs.name, pairs.split, len(pairs)) == ("both", "train", 20)
    assert pairs.example_spec == data.ExampleSpec("image", (4, 6, 3), ("0", "1", "2"), (4, 6, 1))
    assert pairs.image_shape == (4, 6, 3)

    def check(examples):
        assert examples.keys() - {"mask"} == {"image", "spatial", "label"}
        numbers = examples["image"][:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(examples["spatial"][:, 0, 0, 0], numbers + 100)
        np.testing.assert_array_equal(examples["label"], numbers % 3)
        return numbers.tolist()

    batches = data.Batches(pairs, 6, seed=2)
    plain = data.Batches(pairs.target, 6, seed=2)
    for step in range(9):
        assert check(batches.batch_at(step)) == plain.batch_at(step)["image"][:, 0, 0, 0].tolist()
    part = pairs.select(np.array([9, 3, 12]), "some").select(np.array([2, 0]), "few")
    assert check(part.take(np.arange(2))) == [12, 9]
    assert (part.name, part.split) == ("both", "few")
    seen = [number for batch in data.evaluation_batches(pairs, 6) for number in check(batch)]
    assert seen[:20] == list(range(20))
    other = pairs.with_classes(["2", "1", "0"]).take(np.arange(4))
    assert other["label"].tolist() == [2, 1, 0, 2]
    assert other["spatial"][:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_pairs_without_labels_have_none():
    pairs = data.Paired(numbered(3), numbered(3, labels=True))
    assert pairs.labels is pairs.class_names is None
    assert pairs.take(np.arange(2)).keys() == {"image", "spatial"}


def test_a_digest_of_pairs_changes_when_either_side_does():
    def digest(target=0, source=0):
        return data.Paired(numbered(4, first=target), numbered(4, first=source)).digest

    assert digest() == digest()
    assert len({digest(), digest(1), digest(0, 1), digest(1, 1), numbered(4).digest}) == 5
    swapped = data.Paired(numbered(4, first=1), numbered(4)).digest
    assert swapped != data.Paired(numbered(4), numbered(4, first=1)).digest


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            numbered(3, name="x"),
            "the train split of numbered has 4 images and the train split of x 3; pairs need as "
            "many of each",
        ),
        (
            data.ArrayDataset("x", "train", np.zeros((4, 4, 5, 1), np.uint8)),
            "images differ in size: the source, the train split of x, is 4×5 (height×width), the "
            "target, the train split of numbered, 4×6; give an image_size to make them alike",
        ),
        (
            data.Mapped(numbered(4), conditions.Gray()),
            "the train split of numbered holds pairs of images; single images are needed",
        ),
    ],
)
def test_sides_that_make_no_pairs(source, message):
    with pytest.raises(data.DataError, match=f"^{re.escape(message)}$"):
        data.Paired(numbered(4), source)


def test_only_single_images_make_pairs():
    sounds = data.AudioDataset(
        "beeps", "train", np.zeros(9, np.int16), np.arange(4), 5, sample_rate=8000
    )
    for other, noun in (
        (sounds, "sounds"),
        (data.TwoDomains(numbered(4), numbered(4)), "images of two domains"),
        (data.Paired(numbered(4), numbered(4)), "pairs of images"),
    ):
        message = f" holds {noun}; single images are needed$"
        for make in (
            lambda other=other: data.Paired(other, numbered(4)),
            lambda other=other: data.Paired(numbered(4), other),
            lambda other=other: data.Mapped(other, conditions.Gray()),
            lambda other=other: data.TwoDomains(other, numbered(4)),
            lambda other=other: data.TwoDomains(numbered(4), other),
        ):
            with pytest.raises(data.DataError, match=message):
                make()


def test_a_condition_is_computed_from_the_stored_image_and_its_number():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 6, 3), np.uint8)
    dataset = data.ArrayDataset("x", "train", images, np.arange(9) % 3)
    for condition in (conditions.Gray(), conditions.Noise(), conditions.Hole()):
        mapped = data.Mapped(dataset, condition)
        expected = condition(images, np.arange(9))
        assert mapped.example_spec.spatial == expected.shape[1:]
        rows = np.array([4, 0, 8, 4])
        examples = mapped.take(rows)
        np.testing.assert_array_equal(examples["image"], images[rows])
        np.testing.assert_array_equal(examples["spatial"], expected[rows])
        np.testing.assert_array_equal(examples["label"], rows % 3)


def test_an_example_keeps_its_noise_in_every_selection():
    dataset = numbered(9, labels=True)
    mapped = data.Mapped(dataset, conditions.Noise())
    whole = mapped.take(np.arange(9))["spatial"]
    few = mapped.select(np.array([7, 2, 5]), "few").select(np.array([2, 0]), "fewer")
    np.testing.assert_array_equal(few.take(np.arange(2))["spatial"], whole[[5, 7]])
    renamed = mapped.select(None, "test").with_classes(("2", "1", "0"))
    np.testing.assert_array_equal(renamed.take(np.arange(9))["spatial"], whole)
    counted_anew = data.Mapped(dataset.select(np.array([5, 7]), "few"), conditions.Noise())
    assert (counted_anew.take(np.arange(2))["spatial"] != whole[[5, 7]]).any()
    assert counted_anew.digest != few.digest


def test_a_digest_changes_with_the_images_and_the_condition():
    digests = [
        data.Mapped(numbered(4, first=first), condition).digest
        for first in (0, 1)
        for condition in (conditions.Noise(), conditions.Noise(10), conditions.Gray())
    ]
    assert len({*digests, numbered(4).digest}) == 7
    assert digests[0] == data.Mapped(numbered(4), conditions.Noise()).digest


def test_a_function_of_one_s_own_is_a_condition():
    class Flipped:
        name = "flipped"

        def __call__(self, images, numbers):
            return images[:, :, ::-1]

    mapped = data.Mapped(numbered(3), Flipped())
    assert mapped.take(np.arange(3))["spatial"].shape == (3, 4, 6, 1)

    class Float(Flipped):
        name = "float"

        def __call__(self, images, numbers):
            return images / 255.0

    class Small(Flipped):
        def __call__(self, images, numbers):
            return images[:, 1:]

    with pytest.raises(
        data.DataError,
        match=r"^the condition float must give uint8 \[n, H, W, C\], got float64 \[1, 4, 6, 1\]$",
    ):
        data.Mapped(numbered(3), Float())
    with pytest.raises(
        data.DataError,
        match=r"^the spatial condition of images \[4, 6, 1\] is \[4, 6, C\], got \[3, 6, 1\]$",
    ):
        data.Mapped(numbered(3), Small())
    with pytest.raises(data.DataError, match=r"holds pairs of images; single images are needed$"):
        data.Mapped(mapped, conditions.Gray())
