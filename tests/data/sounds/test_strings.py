"""Plucked strings: their seed, their classes, their pitch."""

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.sounds import strings


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
