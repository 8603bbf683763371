"""Coloured digits with sentences."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions.colours import INKS, paint, read
from gen_jax.data.captions.digits import attributes_of, held_out_ink
from gen_jax.data.captions.sentences import ATTRIBUTES
from gen_jax.meaning import wrong

SPLITS = ("train", "validation", "test", "held-out")


@pytest.fixture(scope="module")
def sets():
    return {split: data.load_captions("captioned-digits", split) for split in SPLITS}


def test_examples_are_digits_in_colour_with_five_sentences(sets):
    assert [len(sets[split]) for split in SPLITS] == [9000, 1000, 2000, 2000]
    for split, dataset in sets.items():
        assert dataset.example_spec == data.ExampleSpec(
            "image", (28, 28, 3), tuple("0123456789"), text=(5, 201), attributes=6
        )
        examples = dataset.take(np.arange(300))
        digits = data.load("mnist-subset", "test" if split == "held-out" else split)
        gray, ink, paper = read(examples["image"])
        np.testing.assert_array_equal(gray, digits.take(np.arange(300))["image"][..., 0])
        np.testing.assert_array_equal(examples["label"], digits.labels[:300])
        np.testing.assert_array_equal(examples["attributes"][:, 4], ink)
        np.testing.assert_array_equal(examples["attributes"][:, 5], paper)


def test_what_is_said_of_an_image_is_true_and_can_be_seen(sets):
    for dataset in sets.values():
        examples = dataset.take(np.arange(0, len(dataset), 4))
        seen = attributes_of(examples["image"], examples["label"])
        np.testing.assert_array_equal(seen, examples["attributes"])
        said, true = examples["meaning"], examples["attributes"][:, None]
        assert ((said == -1) | (said == true)).all()
        assert not wrong(said[0], examples["attributes"][:1]).any()


def test_a_digit_in_its_held_out_ink_never_trains(sets):
    combinations = {
        split: {tuple(row) for row in dataset.attributes[:, [0, 2, 4]].tolist()}
        for split, dataset in sets.items()
    }
    held_out = combinations["held-out"]
    for split in ("train", "validation", "test"):
        assert not held_out & combinations[split]
    assert len(held_out) == 30
    assert combinations["train"] == {
        (digit, slant, ink)
        for digit in range(10)
        for slant in range(3)
        for ink in range(len(INKS))
        if ink != held_out_ink(np.array(digit), np.array(slant))
    }
    # So every pair of them trains.
    for pair in ((0, 1), (0, 2), (1, 2)):
        seen = {tuple(row[i] for i in pair) for row in combinations["train"]}
        assert seen >= {tuple(row[i] for i in pair) for row in held_out}
    assert {row[2] for row in held_out} == set(range(len(INKS)))


def test_every_value_of_every_attribute_is_common(sets):
    for column, values in zip(sets["train"].attributes.T, ATTRIBUTES.values(), strict=True):
        shares = np.bincount(column, minlength=len(values)) / len(column)
        assert len(shares) == len(values)
        assert shares.min() > 0.4 / len(values)
    for digit in range(10):
        own = sets["train"].attributes[sets["train"].labels == digit]
        for column in own[:, 1:4].T:
            assert np.bincount(column, minlength=3).min() > 0.04 * len(own)


def test_colours_and_sentences_follow_from_the_seed_alone(sets):
    again = data.load_captions("captioned-digits", "test")
    other = data.load_captions("captioned-digits", "test", seed=1)
    assert again.digest == sets["test"].digest != other.digest
    assert again.texts == sets["test"].texts != other.texts
    np.testing.assert_array_equal(other.attributes[:, :4], again.attributes[:, :4])
    assert (other.attributes[:, 4:] != again.attributes[:, 4:]).any(0).all()
    # Another fraction parts the same examples elsewhere.
    whole = data.load_captions("captioned-digits", "train", validation_fraction=0.0)
    both = data.load_captions("captioned-digits", "train+validation")
    assert whole.digest == both.digest
    assert set(sets["validation"].texts) <= set(whole.texts)


def test_parts_keep_contents(sets):
    whole = sets["test"].take(np.array([7, 11]))
    part = sets["test"].select(np.array([11, 3, 7]), "few").with_classes([*"9876543210"])
    few = part.take(np.array([2, 0]))
    for key in whole.keys() - {"label"}:
        np.testing.assert_array_equal(few[key], whole[key])
    np.testing.assert_array_equal(few["label"], 9 - whole["label"])
    assert part.digest != sets["test"].digest


def test_generated_images_are_judged_alike():
    gray = data.load("mnist-subset", "test").images[:50, :, :, 0]
    digits = data.load("mnist-subset", "test").labels[:50]
    ink, paper = np.arange(50) % 6, np.arange(50) % 3
    noise = np.random.default_rng(0).integers(-3, 4, (50, 28, 28, 3))
    noisy = np.clip(paint(gray, ink, paper) + noise, 0, 255).astype(np.uint8)
    found = attributes_of(noisy, digits)
    np.testing.assert_array_equal(found[:, 0], digits)
    np.testing.assert_array_equal(found[:, 4], ink)
    np.testing.assert_array_equal(found[:, 5], paper)


@pytest.mark.parametrize("options", [{"image_size": 32}, {"channels": 1}])
def test_they_have_one_size(options):
    with pytest.raises(data.DataError, match=r"^captioned-digits are 28×28 in RGB"):
        data.load_captions("captioned-digits", "train", **options)


def test_a_split_that_is_not_there():
    with pytest.raises(
        data.DataError,
        match=r"no split 'unseen'; it has train, validation, test, held-out, train\+validation$",
    ):
        data.load_captions("captioned-digits", "unseen")
