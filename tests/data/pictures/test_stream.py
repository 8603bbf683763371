"""Decoded on demand or decoded once: the same examples, the same batches."""

import concurrent.futures

import grain
import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.pictures import stream


@pytest.fixture
def specs(picture, encode, write_folder, prepare_set):
    """One set twice, as a folder and as TFDS prepares it: (spec, data_dir)."""
    images = [encode(picture(index, 12, 10)) for index in range(40)]
    folder = write_folder({f"{i % 2}/{i:02}.png": image for i, image in enumerate(images)})
    data_dir = prepare_set("small", {"train": images[:30], "test": images[30:]})
    return [(f"folder:{folder}", None), ("tfds:small", data_dir)]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("source", [0, 1])
def test_streams_and_arrays_give_the_same_batches(specs, source, split):
    spec, data_dir = specs[source]
    array = data.load(spec, split, data_dir=data_dir, image_size=6)
    streamed = data.load(spec, split, data_dir=data_dir, image_size=6, memory_limit=100)
    assert isinstance(array, data.ArrayDataset)
    assert isinstance(streamed, data.StreamDataset)
    for name in ("name", "split", "image_shape", "class_names", "skipped"):
        assert getattr(streamed, name) == getattr(array, name)
    assert len(streamed) == len(array)
    size = min(7, len(array))
    pair = [data.Batches(dataset, size, seed=5) for dataset in (array, streamed)]
    for step, rows in ((0, None), (9, None), (3, slice(1, 3)), (2, slice(0, 0))):
        expected, found = (batches.batch_at(step, rows) for batches in pair)
        assert expected["image"].dtype == found["image"].dtype
        np.testing.assert_array_equal(found["image"], expected["image"])
        assert found["label"].dtype == np.int32
        np.testing.assert_array_equal(found["label"], expected["label"])
    for expected, found in zip(
        *(data.evaluation_batches(dataset, size) for dataset in (array, streamed)), strict=True
    ):
        for name in ("image", "label", "mask"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_only_the_rows_asked_for_are_decoded(specs, monkeypatch):
    spec, data_dir = specs[0]
    dataset = data.load(spec, "train", data_dir=data_dir, memory_limit=100)
    decoded = []
    decode = stream.picture.decode
    monkeypatch.setattr(
        stream.picture, "decode", lambda *args: decoded.append(args[-1]) or decode(*args)
    )
    data.Batches(dataset, 16, seed=0).batch_at(3, rows=slice(4, 8))
    assert len(decoded) == 4


def test_several_threads_draw_the_same_batches(specs):
    spec, data_dir = specs[1]
    dataset = data.load(spec, "train", data_dir=data_dir, memory_limit=100)
    batches = data.Batches(dataset, 8, seed=0)
    alone = [batches.batch_at(step)["image"] for step in range(20)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda step: batches.batch_at(step)["image"], range(20)))
    np.testing.assert_array_equal(np.stack(together), np.stack(alone))


def test_a_stream_is_a_grain_map_dataset(specs):
    spec, data_dir = specs[0]
    dataset = data.load(spec, "train", data_dir=data_dir, memory_limit=100)
    assert isinstance(dataset.map_dataset, grain.MapDataset)
    assert len(dataset.map_dataset) == len(dataset)
    np.testing.assert_array_equal(
        dataset.map_dataset[3]["image"], dataset.take(np.array([3]))["image"][0]
    )


def test_a_differing_picture_is_found_when_it_is_read(picture, encode, write_folder):
    folder = write_folder({"a.png": encode(picture(0, 8, 6)), "b.png": encode(picture(1, 8, 7))})
    dataset = data.load(f"folder:{folder}", "train", validation_fraction=0.0, memory_limit=1)
    with pytest.raises(data.DataError, match=r"^images differ in size: \S+/b\.png is 8×7"):
        dataset.take(np.arange(2))
