"""Folders of pictures: labels, splits, sizes, and what can be wrong with them."""

import os

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.pictures import encoded


@pytest.fixture
def photos(picture, encode, write_folder):
    """Colour and gray pictures of several kinds and sizes, in two classes."""
    files = {}
    for index in range(12):
        kind = ("PNG", "JPEG", "WEBP")[index % 3]
        ending = ("png", "JPG", "webp")[index % 3]
        channels = 1 if index % 4 == 0 else 3
        image = picture(index, height=20 + index, width=40 - index, channels=channels)
        name = f"{('cats', 'dogs')[index % 2]}/deep/{index:02}.{ending}"
        files[name] = encode(image, kind)
    files["cats/notes.txt"] = b"not a picture"
    files["cats/.hidden.png"] = b"not a picture either"
    files[".thumbnails/x.png"] = b"nor this"
    return write_folder(files)


def test_photos_of_mixed_sizes_become_one_array(photos):
    splits = ("train", "validation", "test")
    sets = [data.load(f"folder:{photos}", split, image_size=16, channels=3) for split in splits]
    assert sum(len(dataset) for dataset in sets) == 12
    for dataset in sets:
        assert dataset.image_shape == (16, 16, 3)
        assert dataset.images.shape == (len(dataset), 16, 16, 3)
        assert dataset.class_names == ("cats", "dogs")
    whole = data.load(f"folder:{photos}", "train+validation", image_size=16, channels=3)
    assert len(whole) == len(sets[0]) + len(sets[1])
    assert (np.diff(whole.labels) >= 0).all()  # sorted by path: one class after the other
    assert data.load(f"folder:{photos}", "train", image_size=(8, 12), channels=1).image_shape == (
        8,
        12,
        1,
    )


def test_the_pictures_are_those_of_the_files(picture, encode, write_folder):
    folder = write_folder({f"{index:02}.png": encode(picture(index)) for index in range(10)})
    dataset = data.load(f"folder:{folder}", "train", validation_fraction=0.0)
    assert dataset.labels is None
    assert dataset.class_names is None
    expected = np.stack([picture(index) for index in range(10)])
    np.testing.assert_array_equal(dataset.images, expected)


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_splits_as_subfolders(picture, encode, write_folder, validation):
    files = {}
    for start, split in ((0, "train"), (6, validation), (8, "test")):
        for index in range(start, start + 2):
            files[f"{split}/one/{index}.png"] = encode(picture(index))
    files["train/two/5.png"] = encode(picture(5))
    folder = write_folder(files)
    found = {
        split: data.load(f"folder:{folder}", split) for split in ("train", "validation", "test")
    }
    assert [len(dataset) for dataset in found.values()] == [3, 2, 2]
    assert {dataset.class_names for dataset in found.values()} == {("one", "two")}
    assert found["train"].labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(found["test"].images[1], picture(9))
    both = data.load(f"folder:{folder}", "train+validation")
    np.testing.assert_array_equal(both.images[3], picture(6))


def test_later_opens_do_not_decode(photos, monkeypatch):
    first = data.load(f"folder:{photos}", "train", image_size=16, channels=3)

    def decode(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(encoded.picture, "decode", decode)
    again = data.load(f"folder:{photos}", "train", image_size=16, channels=3)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert again.class_names == first.class_names
    with pytest.raises(AssertionError, match="decoded again"):
        data.load(f"folder:{photos}", "train", image_size=15, channels=3)


def test_a_changed_folder_is_decoded_anew(picture, encode, write_folder):
    files = {f"{index}.png": encode(picture(index)) for index in range(4)}
    folder = write_folder(files)

    def images() -> np.ndarray:
        return data.load(f"folder:{folder}", "train", validation_fraction=0.0).images

    images()
    path = folder / "2.png"
    before = path.stat()
    path.write_bytes(encode(picture(99)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    np.testing.assert_array_equal(images()[2], picture(99))
    (folder / "0.png").unlink()
    np.testing.assert_array_equal(images()[0], picture(1))


def test_unreadable_pictures_are_named_or_skipped(picture, encode, write_folder):
    files = {f"{index}.png": encode(picture(index)) for index in range(10)}
    files["0.png"] = b"no picture"
    files["3.png"] = files["3.png"][:60]
    files["7.png"] = b""
    folder = write_folder(files)
    (folder / "8.png").unlink()
    (folder / "8.png").symlink_to(folder / "gone.png")
    spec = f"folder:{folder}"
    with pytest.raises(
        data.DataError,
        match=r"^cannot read the image \S+/0\.png: it is not a PNG, JPEG or WebP file$",
    ):
        data.load(spec, "train")
    (folder / "0.png").unlink()
    with pytest.raises(data.DataError, match=r"^cannot read the image \S+/3\.png: \S"):
        data.load(spec, "train")
    for limit in (2**30, 1):  # decoded once, and on demand
        dataset = data.load(
            spec, "train", skip_bad_images=True, validation_fraction=0.0, memory_limit=limit
        )
        assert dataset.skipped == 3
        expected = np.stack([picture(index) for index in (1, 2, 4, 5, 6, 9)])
        np.testing.assert_array_equal(dataset.take(np.arange(6))["image"], expected)
        assert len(dataset) == 6


def test_nothing_but_unreadable_pictures(write_folder):
    folder = write_folder({"a.png": b"x", "b.png": b"y"})
    with pytest.raises(data.DataError, match=r"no readable image in its train split \(2 tried\)$"):
        data.load(f"folder:{folder}", "train", skip_bad_images=True)


def test_mixed_sizes_want_an_image_size(picture, encode, write_folder):
    folder = write_folder({"a.png": encode(picture(0, 8, 6)), "b.png": encode(picture(1, 8, 7))})
    with pytest.raises(
        data.DataError,
        match=r"^images differ in size: \S+/b\.png is 8×7 \(height×width\), "
        r"the first of folder:\S+ 8×6; give an image_size to make them alike$",
    ):
        data.load(f"folder:{folder}", "train")


def test_mixed_channels_want_channels(picture, encode, write_folder):
    folder = write_folder({"a.png": encode(picture(0)), "b.png": encode(picture(1, channels=1))})
    with pytest.raises(
        data.DataError,
        match=r"^images differ in channels: \S+/b\.png has 1, the first of folder:\S+ 3; "
        r"give channels=1 \(gray\) or channels=3 \(RGB\) to make them alike$",
    ):
        data.load(f"folder:{folder}", "train", image_size=8)


def test_pictures_in_and_beside_subfolders(picture, encode, write_folder):
    folder = write_folder({"a.png": encode(picture(0)), "cats/b.png": encode(picture(1))})
    with pytest.raises(data.DataError, match=r"put all in subfolders, whose names are"):
        data.load(f"folder:{folder}", "train")


def test_labels_in_some_splits_only(picture, encode, write_folder):
    folder = write_folder(
        {"train/cats/a.png": encode(picture(0)), "validation/b.png": encode(picture(1))}
    )
    assert data.load(f"folder:{folder}", "train").class_names == ("cats",)
    assert data.load(f"folder:{folder}", "validation").class_names is None
    with pytest.raises(data.DataError, match=r"only some of train, validation have subfolders$"):
        data.load(f"folder:{folder}", "train+validation")


def test_folders_that_are_missing_or_empty(picture, encode, write_folder, tmp_path):
    with pytest.raises(data.DataError, match=r"^folder:\S+: there is no folder \S+/gone$"):
        data.load(f"folder:{tmp_path / 'gone'}", "train")
    folder = write_folder({"notes.txt": b""})
    with pytest.raises(data.DataError, match=r"there is no PNG, JPEG or WebP file in \S+s$"):
        data.load(f"folder:{folder}", "train")
    (folder / "notes.txt").unlink()
    with pytest.raises(data.DataError, match=r"there is no PNG, JPEG or WebP file in \S+s$"):
        data.load(f"folder:{folder}", "train")
    write_folder({"train/a.png": encode(picture(0))})
    (folder / "test").mkdir()
    with pytest.raises(data.DataError, match=r"there is no picture in its test folder$"):
        data.load(f"folder:{folder}", "test")


def test_a_ring_of_links_ends(picture, encode, write_folder):
    folder = write_folder({f"cats/{index}.png": encode(picture(index)) for index in range(3)})
    (folder / "cats" / "again").symlink_to(folder)
    assert len(data.load(f"folder:{folder}", "train", validation_fraction=0.0)) == 3
