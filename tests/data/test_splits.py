"""Splits never overlap, whatever the source offers."""

import itertools

import numpy as np
import pytest

from gen_jax.data import ArrayDataset, DataError
from gen_jax.data.splits import open_split


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


def test_other_splits_are_opened_as_they_are():
    source = Numbers(trainA=5, trainB=6)
    assert numbers(source, "trainB") == list(range(5, 11))


@pytest.mark.parametrize(
    ("source", "split", "fraction", "names"),
    [
        (Numbers(train=9, test=9), "tets", 0.1, "train, validation, test, train+validation"),
        (Numbers(train=9), "dev", 0.1, "train, validation, test, train+validation"),
        (
            Numbers(train=9, test=9),
            "validation",
            0.0,
            "train, test, train+validation; a validation_fraction above 0 would hold some out",
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
    with pytest.raises(DataError, match=r"^the seed must be 0 or more, got -1$"):
        numbers(Numbers(train=9), "train", seed=-1)
    with pytest.raises(DataError, match=r"holding out 1 of 2 examples each .* leaves none"):
        numbers(Numbers(train=2), "train")
