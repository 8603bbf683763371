"""Patches of the photographs that come with packages."""

import importlib.resources
import sys

import numpy as np
import pytest
from PIL import Image

from gen_jax import data
from gen_jax.data.pictures.photos import PHOTOS

SPLITS = ("train", "validation", "test")


def test_splits_are_of_different_photographs():
    files = [photo for split in SPLITS for photo in PHOTOS[split]]
    assert len(set(files)) == len(files) == 7
    parts = [data.load("photos", split) for split in SPLITS]
    assert [len(part) for part in parts] == [4625, 154, 492]
    for part in parts:
        assert part.image_shape == (32, 32, 3)
        assert part.labels is None
    seen = [{image.tobytes() for image in part.images} for part in parts]
    assert len(set().union(*seen)) == sum(len(images) for images in seen)


@pytest.mark.parametrize("size", [48, 100])
def test_patches_are_cut_from_the_photograph_and_its_half(size):
    path = importlib.resources.files("skimage") / "data/chelsea.png"
    with path.open("rb") as file:
        cat = np.asarray(Image.open(file).convert("RGB"), np.float32)
    height, width = (side // 2 * 2 for side in cat.shape[:2])
    half = cat[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    expected = [
        level[top : top + size, left : left + size]
        for level in (cat, half)
        for top in range(0, level.shape[0] - size + 1, size)
        for left in range(0, level.shape[1] - size + 1, size)
    ]
    expected = [patch for patch in expected if patch.std((0, 1)).max() >= 4.0]
    found = data.load(f"photos:{size}", "validation").images
    assert np.abs(found - np.stack(expected)).max() <= 0.5


def test_patches_to_train_on_overlap_by_half():
    train = data.load("photos:64", "train").images
    np.testing.assert_array_equal(train[0, :, 32:], train[1, :, :32])


def test_flat_patches_are_left_out():
    assert data.load("photos", "train").images.std((1, 2)).max(-1).min() >= 4.0


def test_the_digest_is_of_the_size_the_split_and_the_conversion():
    digests = [
        data.load(*which, **options).digest
        for which, options in (
            (("photos:64", "validation"), {}),
            (("photos:65", "validation"), {}),
            (("photos:64", "test"), {}),
            (("photos:64", "validation"), {"channels": 1}),
        )
    ]
    assert len(set(digests)) == 4
    assert digests[0] == data.load("photos:64", "validation").digest
    assert data.load("photos:32", "validation").digest == data.load("photos", "val").digest


def test_every_allowed_size_has_patches_in_every_split():
    for size in (8, 300):
        assert all(len(data.load(f"photos:{size}", split)) for split in SPLITS)


@pytest.mark.parametrize("size", ["7", "301", "0", "-3", "big", "3.5", "²"])
def test_other_sizes_are_refused(size):
    with pytest.raises(
        data.DataError, match=rf"^the SIZE of photos:SIZE is a side from 8 to 300, got '{size}'$"
    ):
        data.load(f"photos:{size}", "train")


@pytest.mark.parametrize("module", ["skimage", "sklearn"])
def test_without_a_package_the_error_says_how_to_install(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        data.DataError,
        match=r"^photos are of the packages scikit-image and scikit-learn: "
        r"pip install scikit-image scikit-learn$",
    ):
        data.load("photos", "test")


def test_a_photograph_that_is_not_carried_is_named(monkeypatch):
    monkeypatch.setitem(PHOTOS, "test", (("scikit-image", "skimage", "data/no.png"),))
    with pytest.raises(
        data.DataError, match=r"^photos: the installed scikit-image does not carry data/no\.png; "
    ):
        data.load("photos", "test")
