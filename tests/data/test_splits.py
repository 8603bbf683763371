"""Splits never overlap, whatever the source offers."""

import itertools

import numpy as np
import pytest

from gen_jax.data import ArrayDataset, DataError
from gen_jax.data.splits import SPELLINGS, by_usual_name, open_split, usual


class Numbers:
    """A source whose examples are numbered through all of its splits."""

    name = "numbers"

    def __init__(self, **sizes: int):
        starts = [0, *itertools.accumulate(sizes.values())]
        self.parts = {
            split: np.arange(start, start + size)
            for start, (split, size) in zip(starts, sizes.items(), strict=False)
        }
        self.splits = tuple(sizes)
        self.ignored = ()
        self.class_names = tuple(str(number) for number in range(starts[-1]))

    def open(self, *splits: str) -> ArrayDataset:
        labels = np.concatenate([self.parts[split] for split in splits])
        images = np.zeros((len(labels), 1, 1, 1), np.uint8)
        return ArrayDataset(
            self.name, "+".join(splits), images, labels, class_names=self.class_names
        )


def numbers(source: Numbers, split: str, *, fraction: float = 0.1, seed: int = 0) -> list[int]:
    dataset = open_split(source, split, validation_fraction=fraction, seed=seed)
    assert dataset.split == split
    return dataset.labels.tolist()


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        (Numbers(train=50, test=20), (45, 5, 20)),
        (Numbers(train=50, validation=10, test=20), (50, 10, 20)),
        (Numbers(train=50, validation=10), (50, 10, None)),
        (Numbers(train=50), (40, 5, 5)),
        (Numbers(train=50, unsupervised=7), (45, 5, None)),
    ],
)
def test_parts_are_disjoint_and_make_up_the_source(source: Numbers, sizes):
    train, validation = numbers(source, "train"), numbers(source, "validation")
    both = numbers(source, "train+validation")
    assert (len(train), len(validation)) == sizes[:2]
    assert not set(train) & set(validation)
    assert sorted(train + validation) == both
    assert all(part == sorted(part) for part in (train, validation))  # the source's own order
    if sizes[2] is None:
        with pytest.raises(DataError, match="has no split 'test'"):
            numbers(source, "test")
        return
    test = numbers(source, "test")
    assert len(test) == sizes[2]
    assert not set(test) & set(both)
    assert len(both + test) == sum(len(part) for part in source.parts.values())


def test_the_seed_draws_what_is_held_out():
    source = Numbers(train=50, test=20)
    assert numbers(source, "validation", seed=1) == numbers(source, "validation", seed=1)
    assert numbers(source, "validation", seed=1) != numbers(source, "validation", seed=2)
    assert len(numbers(source, "validation", fraction=0.3)) == 15
    assert numbers(source, "train", fraction=0.0) == list(range(50))


def test_all_of_train_needs_no_examples_to_hold_out():
    source = Numbers(train=1, test=2)
    assert numbers(source, "train+validation") == [0]
    with pytest.raises(DataError, match="too few examples to hold any out"):
        numbers(source, "train")


def test_other_splits_are_opened_as_they_are():
    source = Numbers(trainA=5, trainB=6)
    assert numbers(source, "trainB") == list(range(5, 11))


@pytest.mark.parametrize(
    ("source", "split", "fraction", "names"),
    [
        (Numbers(train=9, test=9), "tets", 0.1, "train, validation, test, train+validation"),
        (Numbers(train=9), "extra", 0.1, "train, validation, test, train+validation"),
        (
            Numbers(train=9, test=9),
            "validation",
            0.0,
            "train, test, train+validation; validation_fraction=0 holds none out; set one above 0",
        ),
        (
            Numbers(train=9),
            "test",
            0.0,
            "train, train+validation; validation_fraction=0 holds none out; set one above 0",
        ),
        (Numbers(trainA=9, testA=9), "train", 0.1, "trainA, testA"),
    ],
)
def test_a_split_that_does_not_exist(source, split, fraction, names):
    message = rf"^numbers has no split '{split}'; it has {names.replace('+', '[+]')}$"
    with pytest.raises(DataError, match=message):
        numbers(source, split, fraction=fraction)


def test_fractions_and_seeds_that_cannot_be():
    with pytest.raises(DataError, match=r"^validation_fraction must lie in \[0, 1\), got 1\.0$"):
        numbers(Numbers(train=9), "train", fraction=1.0)
    with pytest.raises(DataError, match=r"^a seed is a whole number from 0 to .*, got -1$"):
        numbers(Numbers(train=9), "train", seed=-1)
    with pytest.raises(DataError, match=r"holding out 2 of 4 examples each .* leaves none to"):
        numbers(Numbers(train=4), "train", fraction=0.5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            Numbers(train=2),
            "numbers has too few examples to hold any out, 2: a set without splits needs 3, one "
            "each to train on, to validate and to test",
        ),
        (
            Numbers(train=1, test=5),
            "numbers has too few examples to hold any out, 1: a set without a validation split "
            "needs 2, one each to train on and to validate",
        ),
    ],
)
def test_too_few_examples_say_how_many_are_needed(source, message):
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=f"^{message}$"):
            numbers(source, split)
    assert numbers(source, "train", fraction=0.0) == source.parts["train"].tolist()


def test_the_fewest_examples_that_make_three_parts():
    source = Numbers(train=3)
    parts = [numbers(source, split) for split in ("train", "validation", "test")]
    assert sorted(part for (part,) in parts) == [0, 1, 2]


@pytest.mark.parametrize(
    ("asked", "split"),
    [("val", "validation"), ("Dev", "validation"), ("TRAINING", "train"), ("testing", "test"),
     ("train+val", "train+validation")],
)  # fmt: skip
def test_a_split_may_be_asked_for_by_any_of_its_spellings(asked, split):
    dataset = open_split(Numbers(train=50), asked, validation_fraction=0.1, seed=0)
    assert dataset.split == split
    assert dataset.labels.tolist() == numbers(Numbers(train=50), split)


def test_the_spellings_of_splits_are_one_table():
    own = ["Train", "val", "testing", "trainA", "extra"]
    assert by_usual_name("x", own) == {
        "train": "Train",
        "validation": "val",
        "test": "testing",
        "trainA": "trainA",
        "extra": "extra",
    }
    assert list(SPELLINGS) == [usual(split) for split in SPELLINGS]
    with pytest.raises(DataError, match=r"^x has validation twice, as val and Valid; keep one"):
        by_usual_name("x", ["train", "val", "Valid"])


def test_what_belongs_to_no_split_is_named_where_one_is_missing():
    source = Numbers(train=9, test=9)
    source.ignored = ("tset_images", *(f"other_{i}" for i in range(20)))
    with pytest.raises(
        DataError, match=r"no split 'x'; .*; ignored: tset_images, other_0, .*other_6, \.\.\.$"
    ):
        numbers(source, "x")
