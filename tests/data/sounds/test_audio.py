"""Sounds as data: windows, splits, WAV files of all kinds, prepared sets, and plucked strings."""

import json
import pathlib
import struct
import sys
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from gen_jax import data
from gen_jax.data.sounds import strings, windows


def a_sound(seed: int, n: int = 1000, channels: int | None = None) -> np.ndarray:
    shape = (n,) if channels is None else (n, channels)
    return np.random.default_rng(seed).integers(-20_000, 20_000, shape, np.int16)


@pytest.fixture
def write_sounds(tmp_path):
    """Writes sounds of 8000 Hz by their relative path, and returns the folder's SPEC."""

    def write(files: dict[str, np.ndarray], rate: int = 8000) -> str:
        folder = tmp_path / "sounds"
        for name, sound in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(folder / name, rate, sound)
        return f"folder:{folder}"

    return write


def write_bits(path: pathlib.Path, frames: bytes, width: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(frames)


# Windows


def test_windows_lie_within_one_sound_each(write_sounds):
    files = {
        f"{label}/{i}.wav": a_sound(10 * i, n)
        for i, (label, n) in enumerate([("high", 250), ("high", 99), ("low", 100), ("low", 399)])
    }
    spec = write_sounds(files)
    windows = data.load_audio(spec, "train", length=100, validation_fraction=0.0)
    assert (windows.name, windows.split, windows.sample_rate) == (spec, "train", 8000)
    assert windows.class_names == ("high", "low")
    assert windows.skipped == 1
    whole = list(files.values())
    expected = [whole[0][:100], whole[0][100:200], whole[2], *whole[3][:300].reshape(3, 100)]
    np.testing.assert_array_equal(windows.audio[..., 0], expected)
    examples = windows.take(np.array([5, 0]))
    assert examples["audio"].dtype == np.int16
    assert examples["audio"].shape == (2, 100, 1)
    np.testing.assert_array_equal(examples["label"], [1, 0])
    assert examples["label"].dtype == np.int32
    part = windows.select(np.array([2, 3]), "part")
    assert (len(part), part.split, part.labels.tolist()) == (2, "part", [1, 1])
    np.testing.assert_array_equal(part.audio[0, :, 0], whole[2])


def test_sounds_make_batches_and_evaluations(write_sounds):
    spec = write_sounds({f"{i}.wav": a_sound(i, 250) for i in range(5)})
    windows = data.load_audio(spec, "train", length=50, validation_fraction=0.0)
    assert windows.labels is None
    batches = data.Batches(windows, 4, seed=0)
    seen = np.concatenate([batches.batch_at(step)["audio"] for step in range(6)])
    assert seen.shape == (24, 50, 1)
    assert len(np.unique(seen, axis=0)) == 24
    evaluated = list(data.evaluation_batches(windows, 10))
    assert [int(batch["mask"].sum()) for batch in evaluated] == [10, 10, 5]
    np.testing.assert_array_equal(evaluated[1]["audio"], windows.audio[10:20])


def test_no_window_of_a_sound_is_in_two_splits(write_sounds):
    levels = {f"{i:02}.wav": np.full(400, i, np.int16) for i in range(20)}
    spec = write_sounds(levels)
    found = {
        split: set(np.unique(data.load_audio(spec, split, length=100, seed=3).audio))
        for split in ("train", "validation", "test")
    }
    assert [len(levels) for levels in found.values()] == [16, 2, 2]
    assert set.union(*found.values()) == set(range(20))
    both = data.load_audio(spec, "train+validation", length=100, seed=3)
    assert set(np.unique(both.audio)) == found["train"] | found["validation"]


def test_subfolders_are_splits_and_classes(write_sounds):
    files = {
        f"{split}/{name}/a.wav": a_sound(0, 100)
        for split in ("train", "val", "test")
        for name in ("one", "two")
    }
    spec = write_sounds(files)
    for split in ("train", "validation", "test"):
        dataset = data.load_audio(spec, split, length=100)
        assert dataset.class_names == ("one", "two")
        assert dataset.labels.tolist() == [0, 1]


# WAV files


def test_every_depth_of_samples_becomes_16_bits(tmp_path):
    sound = a_sound(0)
    folder = tmp_path / "depths"
    folder.mkdir()
    eight = (sound.astype(np.int32) + 2**15) >> 8
    write_bits(folder / "08.wav", eight.astype(np.uint8).tobytes(), 1)
    write_bits(folder / "16.wav", sound.tobytes(), 2)
    wide = (sound.astype(np.int32) << 8) + 100  # below half a step of 16 bits
    write_bits(
        folder / "24.wav", wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), 3
    )
    write_bits(folder / "32.wav", (sound.astype("<i4") << 16).tobytes(), 4)
    read = {path.stem: data.read_wav(path) for path in folder.iterdir()}
    assert {rate for _, rate in read.values()} == {8000}
    for depth in ("16", "24", "32"):
        np.testing.assert_array_equal(read[depth][0][:, 0], sound)
    assert np.abs(read["08"][0][:, 0].astype(int) - sound).max() < 256


def test_stereo_is_mixed_to_one_channel(write_sounds):
    stereo = a_sound(0, channels=2)
    spec = write_sounds({"a.wav": stereo})
    mono = data.load_audio(spec, "train", length=1000, validation_fraction=0.0).audio
    np.testing.assert_array_equal(mono[0, :, 0], np.round(stereo.astype(float).mean(1)))


def test_what_is_written_is_read_back(tmp_path):
    for channels in (None, 1, 2):
        sound = a_sound(1, channels=channels)
        data.write_wav(tmp_path / "new" / "a.wav", sound, 16_000)
        read, rate = data.read_wav(tmp_path / "new" / "a.wav")
        assert rate == 16_000
        np.testing.assert_array_equal(read, sound.reshape(1000, -1))
    with pytest.raises(ValueError, match=r"a sound is int16 \[T\] or \[T, C\], got float64"):
        data.write_wav(tmp_path / "a.wav", np.zeros(3), 8000)


def test_another_rate_is_refused_or_resampled(write_sounds):
    rate, seconds = 11_025, 0.5
    time = np.arange(int(rate * seconds)) / rate
    spec = write_sounds({"a.wav": (8000 * np.sin(2 * np.pi * 441 * time)).astype(np.int16)}, rate)
    with pytest.raises(
        data.DataError,
        match=r"a\.wav has a sample rate of 11025 Hz where 8000 Hz is asked for; ask for 11025, or",
    ):
        data.load_audio(spec, "train", length=4000, validation_fraction=0.0)
    as_it_is = data.load_audio(
        spec, "train", length=5000, sample_rate=rate, validation_fraction=0.0
    )
    assert as_it_is.sample_rate == rate
    dataset = data.load_audio(spec, "train", length=4000, validation_fraction=0.0, resample=True)
    found = dataset.audio[0, 200:3800, 0]
    expected = 8000 * np.sin(2 * np.pi * 441 * np.arange(4000) / 8000)[200:3800]
    assert np.abs(found - expected).max() < 80  # 1 %


def test_clipping_is_named_and_a_peak_is_not(write_sounds):
    tone = 30_000 * np.sin(2 * np.pi * 100 * np.arange(1000) / 8000)
    peaks = tone.astype(np.int16)
    peaks[:9] = 2**15 - 1
    spec = write_sounds({"peaks.wav": peaks})
    assert len(data.load_audio(spec, "train", length=1000, validation_fraction=0.0)) == 1
    clipped = np.clip(2.0 * tone, -(2**15), 2**15 - 1).astype(np.int16)
    write_sounds({"loud.wav": np.stack([peaks, clipped], axis=1)})
    with pytest.raises(
        data.DataError,
        match=r"loud\.wav is clipped: from 0\.00\d s on, \d\d samples in a row are at full scale",
    ):
        data.load_audio(spec, "train", length=1000, validation_fraction=0.0)


def test_files_that_are_no_sound(tmp_path, write_sounds):
    spec = write_sounds({"a.wav": np.zeros(10, np.float32)})
    with pytest.raises(data.DataError, match=r"a\.wav holds float32 samples; a WAV file of 8, 16"):
        data.load_audio(spec, "train", validation_fraction=0.0)
    for content in (b"", b"no sound", (tmp_path / "sounds" / "a.wav").read_bytes()[:30]):
        (tmp_path / "sounds" / "a.wav").write_bytes(content)
        with pytest.raises(data.DataError, match=r"^cannot read the sound \S+a\.wav: \S"):
            data.load_audio(spec, "train", validation_fraction=0.0)


def a_header(*, channels: int = 1, rate: int = 8000) -> bytes:
    """The chunk of a WAV file that says what its 16-bit samples are."""
    sizes = (channels, rate, 2 * channels * rate, 2 * channels, 16)
    return b"fmt " + struct.pack("<IHHIIHH", 16, 1, *sizes)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (a_header() + b"data" + struct.pack("<I", 0), "holds no sound: 0 samples, 8000 a second"),
        (
            a_header(channels=2) + b"data" + struct.pack("<I", 0),
            "holds no sound: 0 samples, 8000 a second",
        ),
        (
            a_header(rate=0) + b"data" + struct.pack("<Ihh", 4, 1, 2),
            "holds no sound: 2 samples, 0 a second",
        ),
        (a_header(), "its header is damaged, or no sound follows it"),
        (b"", "its header is damaged, or no sound follows it"),
        (
            a_header(channels=0) + b"data" + struct.pack("<Ihh", 4, 1, 2),
            "its header is damaged, or no sound follows it",
        ),
    ],
    ids=["empty", "empty-stereo", "no-rate", "no-data", "no-chunk", "no-channel"],
)
def test_a_recording_without_sound_is_one_line(tmp_path, chunks, message):
    content = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(data.DataError, match=rf"a\.wav.*{message}$") as error:
        data.read_wav(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("string", {}, r"unknown data set 'string' \(near names: strings\); a data set is strings, "
         "tfds:NAME or folder:PATH"),
        ("floder:x", {}, r"near names: folder:x\)"),
        ("folder:/nowhere", {}, "there is no folder /nowhere"),
        ("strings", {"sample_rate": 2000}, "strings want a sample rate of 4000 Hz or more"),
        ("strings", {"length": 0}, "length must be 1 or more, got 0"),
        ("strings", {"length": 9000}, "no sound of its train split is as long as a window of 9000 "
         "samples at 8000 Hz; the longest has 8000"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(spec, options, message):
    with pytest.raises(data.DataError, match=message) as error:
        data.load_audio(spec, "train", **options)
    assert "\n" not in str(error.value)


def test_folders_without_sounds(tmp_path):
    (tmp_path / "sounds").mkdir()
    with pytest.raises(data.DataError, match=r"there is no WAV file in \S+/sounds$"):
        data.load_audio(f"folder:{tmp_path / 'sounds'}", "train")
    with pytest.raises(data.DataError, match=r"near names: folder:\S+/sounds\)"):
        data.load_audio(str(tmp_path / "sounds"), "train")


# Plucked strings


def test_strings_follow_from_their_seed_and_have_their_classes():
    test = data.load_audio("strings", "test")
    assert len(test) == 4 * 12
    assert test.class_names == strings.NAMES
    assert test.class_names[0] == "A3 220.0 Hz"
    assert test.class_names[-1] == "G#4 415.3 Hz"
    np.testing.assert_array_equal(test.labels, np.repeat(np.arange(12), 4))
    np.testing.assert_array_equal(data.load_audio("strings", "test").audio, test.audio)
    assert not np.array_equal(data.load_audio("strings", "test", seed=1).audio, test.audio)
    validation = data.load_audio("strings", "validation")
    both = np.concatenate([test.audio, validation.audio])
    assert len(np.unique(both, axis=0)) == len(both)  # no pluck twice
    assert len(strings.PLUCKS["train"]) == 16
    loudest = np.abs(both[..., 0].astype(int)).max(1)
    assert loudest.min() > 0.29 * 2**15
    assert loudest.max() < 0.91 * 2**15
    assert np.abs(both[..., 0].mean(1)).max() < 0.01 * 2**15


@pytest.mark.parametrize("rate", [4000, 8000, 22_050])
def test_strings_are_in_tune(rate):
    """The energy within an eighth of a tone of the multiples of the pitch is nearly all."""
    for label in (0, 5, 11):
        sound = strings.pluck(strings.PITCHES[label], rate, strings._uniform(0, label, 0))
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        frequency = np.fft.rfftfreq(len(sound), 1.0 / rate)
        number = np.maximum(np.round(frequency / strings.PITCHES[label]), 1)
        off = np.abs(frequency / (number * strings.PITCHES[label]) - 1.0)
        assert spectrum[off < 0.012].sum() > 0.95 * spectrum.sum()


# Prepared sets


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


def test_a_prepared_set_is_read_without_tensorflow(prepare_sounds, monkeypatch):
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


def test_floats_other_names_and_rates_of_prepared_sets(prepare_sounds):
    sound = a_sound(0, 100)
    folder = prepare_sounds(
        "notes", {"train": [[sound / 2.0**15]]}, key="tone", dtype=np.float32, names=None,
        sampleRate="16000",
    )  # fmt: skip
    options = {"data_dir": folder, "length": 50, "validation_fraction": 0.0}
    dataset = data.load_audio("tfds:notes", "train", sample_rate=16_000, **options)
    np.testing.assert_array_equal(dataset.audio.reshape(-1), sound)
    assert dataset.labels is None
    with pytest.raises(
        data.DataError, match="no classes by the name of 'note'; it has none at all"
    ):
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
def test_prepared_sets_that_cannot_be_used(prepare_sounds, changes, message):
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
    with pytest.raises(data.DataError, match="preparing an audio set wants TensorFlow, once"):
        data.load_audio("tfds:spoken_digit", "train", data_dir=folder)


def test_resampling_keeps_full_scale_in_range():
    loud = np.where(np.arange(400) % 40 < 20, 2**15 - 1, -(2**15)).astype(np.int16)
    options = windows.AudioOptions(6000, resample=True)
    assert np.abs(windows.at_rate(loud, 8000, options, "x").astype(int)).max() == 2**15
