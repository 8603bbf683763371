"""The shipped digits."""

import importlib.resources
import pathlib

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.shipped.make_mnist_subset import make

SHIPPED = importlib.resources.files("gen_jax.data.shipped")


def test_it_holds_the_digits_and_is_small():
    train, test = data.load("mnist-subset", "train+validation"), data.load("mnist-subset", "test")
    assert (len(train), len(test)) == (10_000, 2_000)
    for dataset in (train, test):
        assert dataset.image_shape == (28, 28, 1)
        assert dataset.class_names == tuple("0123456789")
        assert set(dataset.labels.tolist()) == set(range(10))
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert len((SHIPPED / "mnist_subset.npz").read_bytes()) <= 2_200_000


def test_its_splits_are_disjoint():
    parts = [
        data.load("mnist-subset", split) for split in ("train", "validation", "train+validation")
    ]
    assert [len(part) for part in parts] == [9_000, 1_000, 10_000]
    split = np.sort(np.concatenate([part.images.sum((1, 2, 3), int) for part in parts[:2]]))
    np.testing.assert_array_equal(split, np.sort(parts[2].images.sum((1, 2, 3), int)))


def test_its_origin_and_licence_lie_beside_it():
    text = (SHIPPED / "mnist_subset.md").read_text()
    for name in ("LeCun", "Cortes", "Burges", "CC BY-SA 3.0"):
        assert name in text


def test_it_is_the_beginning_of_mnist(shared_data: pathlib.Path):
    for split, n in (("train+validation", 10_000), ("test", 2_000)):
        full = data.load(f"npz:{shared_data / 'mnist.npz'}", split).take(np.arange(n))
        subset = data.load("mnist-subset", split)
        np.testing.assert_array_equal(subset.images, full["image"])
        np.testing.assert_array_equal(subset.labels, full["label"])


def test_the_script_writes_it_the_same_each_time(tmp_path):
    for name in ("one.npz", "two.npz"):
        make("mnist-subset", tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with (
        np.load(tmp_path / "one.npz", allow_pickle=False) as found,
        np.load(str(SHIPPED / "mnist_subset.npz"), allow_pickle=False) as shipped,
    ):
        assert found.files == shipped.files
        for key in shipped.files:
            np.testing.assert_array_equal(found[key], shipped[key])


def test_the_script_finds_the_order_that_tfds_shuffled(full_mnist, tmp_path):
    make("tfds:mnist", tmp_path / "one.npz", data_dir=full_mnist / "tfds")
    make("mnist-subset", tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_the_script_wants_enough_images(tmp_path):
    np.savez(tmp_path / "few.npz", train_images=np.zeros((5, 2, 2), np.uint8), test_images=[])
    with pytest.raises(data.DataError, match=r"few\.npz has 5 train images; 10000 are needed$"):
        make(f"npz:{tmp_path / 'few.npz'}", tmp_path / "out.npz")
