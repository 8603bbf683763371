"""Digits of 8×8 pixels, laid out as MNIST's are."""

import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from gen_jax import data


def ink_boxes(images: np.ndarray) -> np.ndarray:
    """The height and width of what is brighter than 100, for each image [n, 28, 28, 1]."""
    bright = images[..., 0] > 100
    return np.array(
        [[np.ptp(np.flatnonzero(one.any(axis))) + 1 for axis in (1, 0)] for one in bright]
    )


def test_all_digits_are_in_one_split_each():
    parts = {split: data.load("digits-8x8", split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 1350,
        "validation": 150,
        "test": 297,
    }
    digits = load_digits()
    np.testing.assert_array_equal(parts["test"].labels, digits["target"][-297:])
    whole = data.load("digits-8x8", "train+validation")
    np.testing.assert_array_equal(whole.labels, digits["target"][:-297])
    assert whole.image_shape == (28, 28, 1)
    assert whole.class_names == tuple("0123456789")


def test_the_test_digits_are_no_matter_of_a_seed():
    one, other = (data.load("digits-8x8", "test", seed=seed) for seed in (0, 1))
    assert one.digest == other.digest
    assert one.digest != data.load("digits-8x8", "train").digest


def test_they_lie_as_mnist_digits_do():
    found = data.load("digits-8x8", "test").images
    mnist = data.load("mnist-subset", "test").images
    assert np.all(np.abs(ink_boxes(found).mean(0) - ink_boxes(mnist).mean(0)) < 2.0)
    places = np.arange(28)
    for images in (found, mnist):
        ink = images[..., 0].astype(float)
        for axis in (1, 2):
            along = ink.sum(axis)
            centre = (along * places).sum(1) / along.sum(1)
            assert np.abs(np.median(centre) - 14.0) < 0.2
            assert np.mean(np.abs(centre - 14.0) <= 0.6) > 0.99


def test_the_small_digit_can_be_read_back():
    image = data.load("digits-8x8", "test").images[0, ..., 0]
    stored = load_digits()["images"][-297]
    best = min(
        np.abs(back / 255.0 * 16.0 - stored).mean()
        for top in range(9)
        for left in range(9)
        for back in [
            np.asarray(
                Image.fromarray(image[top : top + 20, left : left + 20]).resize((8, 8), 4), float
            )
        ]
    )
    assert best < 1.0


def test_without_the_package_the_error_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        data.DataError,
        match=r"^digits-8x8 are images of the scikit-learn package: pip install scikit-learn$",
    ):
        data.load("digits-8x8", "train")
