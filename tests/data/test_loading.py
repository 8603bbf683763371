"""From a name to a data set."""

import subprocess
import sys

import numpy as np
import pytest

from gen_jax import data


def test_faces_come_out_of_scikit_image():
    lfw_subset = pytest.importorskip("skimage.data").lfw_subset
    sets = [data.load("faces-mini", split) for split in ("train", "validation", "test")]
    assert [len(dataset) for dataset in sets] == [80, 10, 10]
    assert sets[0].image_shape == (25, 25, 1)
    assert sets[0].labels is None
    whole = data.load("faces-mini", "train", validation_fraction=0.0).images
    assert np.abs(whole[..., 0] / 255.0 - lfw_subset()[:100]).max() <= 0.5 / 255.0 + 1e-9
    assert data.load("faces-mini", "train", image_size=32, channels=3).image_shape == (32, 32, 3)


def test_faces_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)  # as if it were not installed
    with pytest.raises(
        data.DataError,
        match=r"^faces-mini are images of the scikit-image package: pip install scikit-image$",
    ):
        data.load("faces-mini", "train")


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("mnist", "mnist-subset"),
        ("mnist_subset", "mnist-subset"),
        ("faces", "faces-mini"),
        ("foldr:photos", "folder:photos"),
        ("small", "tfds:small"),
        ("tdfs:mnist", "tfds:mnist"),
        ("emojis", "emoji"),
        ("digits", "digits-8x8"),
        ("photo", "photos"),
        ("emoji:not", "emoji:noto"),
        ("emoji:64:twitter", "emoji:64:twemoji"),
    ],
)
def test_an_unknown_set_and_its_near_names(prepare_set, encode, picture, spec, near):
    data_dir = prepare_set("small", {"train": [encode(picture(0))]})
    with pytest.raises(
        data.DataError,
        match=rf"^unknown data set '{spec}' \(did you mean .*\b{near}\b.*\?\); "
        r"a data set is mnist-subset, emoji\[:64\]\[:noto\|:twemoji\], faces-mini, "
        r"digits-8x8, photos\[:SIZE\], tfds:NAME, folder:PATH or npz:PATH$",
    ):
        data.load(spec, "train", data_dir=data_dir)


@pytest.mark.parametrize("spec", ["", "zzzzzz", "folder:", "npz:", "tfds:"])
def test_an_unknown_set_without_near_names(tmp_path, spec, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.DataError, match=rf"^unknown data set '{spec}'; a data set is"):
        data.load(spec, "train", data_dir=tmp_path)


def test_a_bare_path_is_told_its_kind(tmp_path, monkeypatch):
    (tmp_path / "some.npz").write_bytes(b"")
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    for spec, near in (("some.npz", "npz:some.npz"), ("pictures", "folder:pictures")):
        with pytest.raises(data.DataError, match=rf"'{spec}' \(did you mean {near}\?\);"):
            data.load(spec, "train")


def test_what_the_system_refuses_is_one_line():
    with pytest.raises(data.DataError, match=r"^folder:a+ cannot be read|^folder:a+: there is no"):
        data.load(f"folder:{'a' * 5000}", "train")


def test_importing_and_opening_the_shipped_set_stays_light():
    code = (
        "import sys; from gen_jax import data; data.load('mnist-subset', 'train');"
        "heavy = {'jax', 'PIL', 'grain', 'tensorflow_datasets', 'skimage', 'tqdm', 'tyro'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_some_of_a_set_come_from_all_over_it():
    """Of a set sorted by class, each class; all of a set that has no more."""
    labels = np.repeat(np.arange(5), 7)
    images = np.zeros((35, 2, 2, 1), np.uint8)
    dataset = data.ArrayDataset("sorted", "train", images, labels)
    assert set(data.some(dataset, 5)["label"]) == set(range(5))
    np.testing.assert_array_equal(data.some(dataset, 99)["label"], labels)
    few = data.part(dataset, 5)
    assert (len(few), few.split) == (5, dataset.split)
    np.testing.assert_array_equal(few.labels, data.some(dataset, 5)["label"])
    assert all(data.part(dataset, n) is dataset for n in (len(dataset), 99, None))
    np.testing.assert_array_equal(data.spread(4, 4), np.arange(4))
    assert len(data.spread(0, 3)) == 0
