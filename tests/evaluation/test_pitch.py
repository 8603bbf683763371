import math

import numpy as np
import pytest

from gen_jax.data.sounds import strings
from gen_jax.evaluation import find_pitch


def tone(pitch: float, rate: int, harmonics: tuple[float, ...], seconds: float = 0.5) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    phases = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, len(harmonics))
    parts = [
        a * np.sin(2.0 * np.pi * pitch * (k + 1) * time + phase)
        for k, (a, phase) in enumerate(zip(harmonics, phases, strict=True))
        if pitch * (k + 1) < rate / 2
    ]
    return np.sum(parts, axis=0)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize(
    "harmonics",
    [(1.0,), (1.0, 0.5, 0.3, 0.2), (0.1, 0.2, 1.0, 0.6), (0.0, 1.0, 1.0)],
    ids=["sine", "rich", "weak fundamental", "no fundamental"],
)
def test_tones_are_found_within_a_fifth_of_a_percent(rate, harmonics):
    for pitch in (55.0, 110.0, 217.3, 440.0, 623.4, 880.0):
        found = find_pitch(tone(pitch, rate, harmonics), rate)
        assert found == pytest.approx(pitch, rel=2e-3)


def test_a_decaying_noisy_tone_in_16_bits_is_found():
    sound = tone(196.0, 8000, (1.0, 0.5, 0.2))
    sound = sound * np.exp(-np.arange(len(sound)) / 1500)
    sound = 9000 * sound + np.random.default_rng(0).normal(0.0, 300.0, len(sound))
    assert find_pitch(sound.astype(np.int16) + 500, 8000) == pytest.approx(196.0, rel=0.01)


def test_plucked_strings_have_the_pitch_that_their_class_says():
    plucks = strings.Strings(8000, seed=0).open("test")
    for (first, end), label in zip(plucks.spans, plucks.labels, strict=True):
        found = find_pitch(plucks.samples[first:end], 8000)
        assert found == pytest.approx(strings.PITCHES[label], rel=0.01)


def test_silence_and_noise_have_none():
    assert math.isnan(find_pitch(np.zeros(2000, np.int16), 8000))
    assert math.isnan(find_pitch(np.full(2000, 7, np.int16), 8000))
    assert math.isnan(find_pitch(np.random.default_rng(0).normal(size=8000), 8000))


def test_the_range_decides_where_it_is_sought():
    sound = tone(200.0, 8000, (1.0, 0.5))
    assert find_pitch(sound, 8000, highest=250.0) == pytest.approx(200.0, rel=0.01)
    assert find_pitch(sound, 8000, highest=150.0) == pytest.approx(100.0, rel=0.01)  # two periods


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((321,), {}, "needs a sound [T] of 322 samples or more at 8000 Hz, got (321,)"),
        ((4000, 1), {}, "got (4000, 1)"),
        ((4000,), {"highest": 5000.0}, "5000.0 Hz is too high for a sample rate of 8000 Hz"),
    ],
)
def test_what_cannot_be_measured_is_refused(shape, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- below, as plain text
        find_pitch(np.ones(shape), 8000, **options)
    assert message in str(error.value)
