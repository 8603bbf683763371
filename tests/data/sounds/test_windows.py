"""Windows of sounds: within one sound each, and in one split."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.sounds import windows


def test_windows_lie_within_one_sound_each(write_sounds, a_sound):
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


def test_sounds_make_batches_and_evaluations(write_sounds, a_sound):
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


def test_stereo_is_mixed_to_one_channel(write_sounds, a_sound):
    stereo = a_sound(0, channels=2)
    spec = write_sounds({"a.wav": stereo})
    mono = data.load_audio(spec, "train", length=1000, validation_fraction=0.0).audio
    np.testing.assert_array_equal(mono[0, :, 0], np.round(stereo.astype(float).mean(1)))


def test_another_rate_is_refused_or_resampled(write_sounds):
    rate, seconds = 11_025, 0.5
    time = np.arange(int(rate * seconds)) / rate
    spec = write_sounds({"a.wav": (8000 * np.sin(2 * np.pi * 441 * time)).astype(np.int16)}, rate)
    with pytest.raises(
        data.DataError,
        match=r"a\.wav has a sample rate of 11025 Hz, not 8000 Hz; set sample_rate=11025 or",
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


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("string", {}, r"unknown data set 'string' \(did you mean strings\?\); a data set is "
         "strings, tfds:NAME or folder:PATH"),
        ("floder:x", {}, r"did you mean folder:x\?\)"),
        ("folder:/nowhere", {}, "there is no folder /nowhere"),
        ("strings", {"sample_rate": 2000}, "strings need a sample rate of 4000 Hz or more"),
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
    with pytest.raises(data.DataError, match=r"did you mean folder:\S+/sounds\?\)"):
        data.load_audio(str(tmp_path / "sounds"), "train")


def test_resampling_keeps_full_scale_in_range():
    loud = np.where(np.arange(400) % 40 < 20, 2**15 - 1, -(2**15)).astype(np.int16)
    options = windows.AudioOptions(6000, resample=True)
    assert np.abs(windows.at_rate(loud, 8000, options, "x").astype(int)).max() == 2**15


def test_one_long_recording_is_told_to_be_cut(write_sounds, a_sound):
    spec = write_sounds({"long.wav": a_sound(0, 5000)})
    for split in ("train", "test"):
        with pytest.raises(
            data.DataError,
            match=r"^folder:\S+ has too few examples to hold any out, 1: a set without splits "
            r"needs 3, one each to train on, to validate and to test; whole sounds are held out, "
            r"so cut a long recording into three files or more$",
        ):
            data.load_audio(spec, split, length=100)
    assert len(data.load_audio(spec, "train", length=100, validation_fraction=0.0)) == 50


def test_a_digest_follows_from_the_files_and_the_options(write_sounds, a_sound, tmp_path):
    write_sounds({f"{i}.wav": a_sound(i, 250) for i in range(5)})

    def digest(folder="sounds", **options) -> str:
        options = {"length": 50, "validation_fraction": 0.0, **options}
        return data.load_audio(f"folder:{tmp_path / folder}", "train", **options).digest

    first = digest()
    (tmp_path / "sounds").rename(tmp_path / "moved")
    assert digest("moved") == first
    others = [
        digest("moved", **options)
        for options in (
            {"length": 60},
            {"sample_rate": 4000, "resample": True},
            {"validation_fraction": 0.2},
        )
    ]
    write_sounds({f"{i}.wav": a_sound(i, 250 + i) for i in range(5)})
    others.append(digest())
    assert len({first, *others}) == 1 + len(others)
    strings = {
        data.load_audio("strings", split, seed=seed, length=length).digest
        for split, seed, length in (
            ("train", 0, 8000),
            ("test", 0, 8000),
            ("train", 1, 8000),
            ("train", 0, 4000),
        )
    }
    assert len(strings) == 4


def test_sounds_of_an_array_are_named_and_digested_by_it(a_sound):
    def dataset(samples, labels=(30, 7)):
        return data.AudioDataset(
            "x", "train", samples, np.array([0, 10]), 10, np.array(labels), sample_rate=8000
        )

    made = dataset(a_sound(0))
    assert (made.class_names, made.labels.tolist()) == (("7", "30"), [1, 0])
    assert made.digest == dataset(a_sound(0)).digest
    assert len({made.digest, dataset(a_sound(1)).digest, dataset(a_sound(0), (7, 30)).digest}) == 3
