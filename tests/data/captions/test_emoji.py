"""Emoji with their names."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.captions import letters
from gen_jax.data.pictures import emoji
from gen_jax.meaning import wrong


@pytest.fixture(scope="module")
def train():
    return data.load_captions("emoji", "train")


@pytest.mark.parametrize("split", ["train", "validation", "test", "train+validation"])
def test_both_drawings_have_the_names(split):
    both = data.load_captions("emoji", split)
    n = len(emoji.names(split))
    assert len(both) == 2 * n
    assert both.texts[:n] == both.texts[n:]
    np.testing.assert_array_equal(both.attributes[:n], both.attributes[n:])
    for texts, name, shorts in zip(
        both.texts[:n], emoji.names(split), emoji.short_names(split), strict=True
    ):
        assert texts[0] == letters.spelled(name)
        assert {short.replace("_", " ") for short in shorts} <= set(texts)
    plain = data.load("emoji", split).take(np.arange(2 * n))
    examples = both.take(np.arange(2 * n))
    np.testing.assert_array_equal(examples["image"], plain["image"])
    np.testing.assert_array_equal(examples["label"], plain["label"])
    noto = data.load_captions("emoji:noto", split, image_size=16)
    assert (noto.texts, noto.image_shape) == (both.texts[:n], (16, 16, 3))
    assert both.example_spec == data.load_captions("emoji", "test").example_spec


def test_what_a_twin_or_namesake_is_called_is_not_wrong(train):
    examples = train.take(np.arange(len(train)))
    meaning, attributes = examples["meaning"][:, 0], examples["attributes"]
    falsehood = wrong(meaning[:, None], attributes[None])
    groups = np.tile(emoji.groups("train"), 2)
    assert not falsehood[groups[:, None] == groups].any()
    sharing: dict[str, list[int]] = {}
    for image, texts in enumerate(train.texts):
        for text in texts:
            sharing.setdefault(text, []).append(image)
    for images in sharing.values():
        assert not falsehood[np.ix_(images, images)].any()
    assert falsehood.mean() > 0.95


def test_groups_are_those_of_the_near_twins():
    groups = {split: set(emoji.groups(split).tolist()) for split in emoji.SPLITS}
    assert not groups["train"] & groups["test"]  # as splits keep them together
    everything = "+".join(emoji.SPLITS)
    group = dict(zip(emoji.names(everything), emoji.groups(everything).tolist(), strict=True))
    assert group["red apple"] == group["green apple"] != group["pear"]
