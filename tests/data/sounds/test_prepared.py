"""Sounds that TFDS prepared, read without TensorFlow."""

import json
import sys

import numpy as np
import pytest

from gen_jax import data


@pytest.fixture
def prepare_sounds(tmp_path):
    """Writes a set as TFDS prepares it, by hand: TFDS's own Audio wants TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    def prepare(name, splits, *, key="audio", dtype=np.int64, names=("even", "odd"), **about):
        features = {key: tfds.features.Tensor(shape=(None,), dtype=dtype)}
        if names is not None:
            features["label"] = tfds.features.ClassLabel(names=names)
        features = tfds.features.FeaturesDict(features)
        folder = tmp_path / "prepared" / name / "1.0.0"
        folder.mkdir(parents=True)
        features.save_config(folder)
        config = json.loads((folder / "features.json").read_text())
        part = config["featuresDict"]["features"][key]
        part["audio"] = part.pop("tensor") | about
        part["pythonClassName"] = "tensorflow_datasets.core.features.audio_feature.Audio"
        (folder / "features.json").write_text(json.dumps(config))
        infos = []
        for split, shards in splits.items():
            for number, shard in enumerate(shards):
                file = f"{name}-{split}.array_record-{number:05}-of-{len(shards):05}"
                writer = ArrayRecordWriter(str(folder / file), "group_size:1")
                for index, sound in enumerate(shard):
                    example = {key: sound.astype(dtype)}
                    if names is not None:
                        example["label"] = index % 2
                    writer.write(features.serialize_example(features.encode_example(example)))
                writer.close()
            infos.append(
                {
                    "name": split,
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "shardLengths": [str(len(shard)) for shard in shards],
                }
            )
        info = {"name": name, "version": "1.0.0", "fileFormat": "array_record", "splits": infos}
        (folder / "dataset_info.json").write_text(json.dumps(info))
        return tmp_path / "prepared"

    return prepare


def test_a_prepared_set_is_read_without_tensorflow(prepare_sounds, monkeypatch, a_sound):
    whole = [a_sound(i, 200 + i) for i in range(6)]
    splits = {"train": [whole[:2], whole[2:4]], "test": [whole[4:]]}
    folder = prepare_sounds("spoken", splits, fileFormat="wav", sampleRate="8000")

    def load(split):
        return data.load_audio("tfds:spoken", split, data_dir=folder, length=100)

    train = load("train+validation")
    assert train.class_names == ("even", "odd")
    assert train.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    np.testing.assert_array_equal(train.audio[::2, :, 0], [sound[:100] for sound in whole[:4]])
    assert len(load("train")) + len(load("validation")) == len(train)
    assert len(load("test")) == 4
    assert "tensorflow" not in sys.modules
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # an import would fail
    np.testing.assert_array_equal(load("train+validation").audio, train.audio)


def test_floats_other_names_and_rates_of_prepared_sets(prepare_sounds, a_sound):
    sound = a_sound(0, 100)
    folder = prepare_sounds(
        "notes", {"train": [[sound / 2.0**15]]}, key="tone", dtype=np.float32, names=None,
        sampleRate="16000",
    )  # fmt: skip
    options = {"data_dir": folder, "length": 50, "validation_fraction": 0.0}
    dataset = data.load_audio("tfds:notes", "train", sample_rate=16_000, **options)
    np.testing.assert_array_equal(dataset.audio.reshape(-1), sound)
    assert dataset.labels is None
    with pytest.raises(data.DataError, match="no class feature 'note'; it has none"):
        data.load_audio("tfds:notes", "train", label="note", sample_rate=16_000, **options)
    with pytest.raises(
        data.DataError, match="tfds:notes train record 0 has a sample rate of 16000"
    ):
        data.load_audio("tfds:notes", "train", **options)
    resampled = data.load_audio("tfds:notes", "train", resample=True, **options)
    assert len(resampled) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lazyDecode": True, "fileFormat": "flac"}, r"keeps its sounds encoded \(flac\)"),
        ({"names": None, "dtype": np.int32}, "samples from -?[0-9]+ to [0-9]+; those of 16 bits"),
    ],
)
def test_prepared_sets_that_cannot_be_used(prepare_sounds, changes, message, a_sound):
    loud = a_sound(0, 100).astype(np.int32) * 4
    folder = prepare_sounds("odd", {"train": [[loud]]}, **changes)
    with pytest.raises(data.DataError, match=message):
        data.load_audio("tfds:odd", "train", data_dir=folder, validation_fraction=0.0)


def test_a_prepared_set_without_sound(prepare_set, picture, encode):
    folder = prepare_set("small", {"train": [encode(picture(0))]})
    with pytest.raises(
        data.DataError,
        match=r"^tfds:small has no feature with one sound: image, label are Image, ClassLabel$",
    ):
        data.load_audio("tfds:small", "train", data_dir=folder)
    with pytest.raises(data.DataError, match="preparing an audio set needs TensorFlow, once"):
        data.load_audio("tfds:spoken_digit", "train", data_dir=folder)
