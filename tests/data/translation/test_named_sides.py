"""Sets with two sides that have names of their own."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data import loading

SPLITS = ("train", "validation", "test")


@pytest.fixture
def drawings(monkeypatch, picture):
    """Stands in for the sets that are shipped: ten of each, B's the negatives of A's."""
    opened = loading._pictures_source

    class Drawn:
        ignored = ()

        def __init__(self, name, splits, negative):
            self.name, self.splits, self.negative = name, splits, negative

        def open(self, *splits):
            images = np.stack([picture(i) for i in range(10)])
            images = 255 - images if self.negative else images
            return data.ArrayDataset(self.name, "+".join(splits), images, np.arange(10) % 2)

    sets = {
        **{f"emoji{size}:noto": (("train",), False) for size in ("", ":64")},
        **{f"emoji{size}:twemoji": (("train",), True) for size in ("", ":64")},
        "mnist-subset": (("train", "test"), False),
        "digits-8x8": (("train",), True),
    }

    def open_source(spec, *arguments):
        return Drawn(spec, *sets[spec]) if spec in sets else opened(spec, *arguments)

    monkeypatch.setattr(loading, "_pictures_source", open_source)


@pytest.mark.usefixtures("drawings")
@pytest.mark.parametrize("spec", ["emoji", "emoji:64"])
def test_emoji_are_pairs_of_drawings_row_by_row(spec):
    seen = 0
    for split in SPLITS:
        pairs, domains = data.load_pairs(spec, split), data.load_domains(spec, split)
        assert pairs.name == domains.name == spec
        assert domains.aligned
        rows = np.arange(len(pairs))
        examples, sides = pairs.take(rows), domains.take(rows)
        np.testing.assert_array_equal(examples["image"], 255 - examples["spatial"])
        np.testing.assert_array_equal(sides["a"], examples["spatial"])
        np.testing.assert_array_equal(sides["b"], examples["image"])
        seen += len(pairs)
    assert seen == 10


@pytest.mark.usefixtures("drawings")
def test_digits_of_two_hands_keep_their_labels():
    found = {split: data.load_domains("digits", split) for split in SPLITS}
    assert [domains.side_lengths for domains in found.values()] == [(9, 8), (1, 1), (10, 1)]
    for domains in found.values():
        assert not domains.aligned
        for side in (domains.a, domains.b):
            assert side.take(np.arange(1))["label"] == side.labels[0]
