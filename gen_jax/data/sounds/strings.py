"""Plucked strings of known pitch, made here (Karplus & Strong 1983).

    y_n = x_n + ρ (b y_{n-N+1} + (1 - 2b) y_{n-N} + b y_{n-N-1})

A burst of noise x runs around a loop of one period and is smoothed at every turn. N is not an
number: a cubic interpolation in the loop tunes it (Jaffe & Smith 1983).
"""

import numpy as np
from jaxtyping import Float, Int16

from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.permutation import check_seed
from gen_jax.data.sounds.windows import Sounds

_PLUCKS = 2  # separates this use of a seed from the others

NOTES = ("A3", "A#3", "B3", "C4", "C#4", "D4", "D#4", "E4", "F4", "F#4", "G4", "G#4")
PITCHES = tuple(220.0 * 2.0 ** (i / 12.0) for i in range(12))  # Hz, equally tempered
NAMES = tuple(f"{note} {pitch:.1f} Hz" for note, pitch in zip(NOTES, PITCHES, strict=True))
PLUCKS = {"train": range(16), "validation": range(16, 20), "test": range(20, 24)}
SECONDS = 1.0
LOWEST_RATE = 4000


class Strings:
    """A source of one-second plucks of 12 strings, from A3 (220 Hz) to G#4 (415.3 Hz).

    Each string is plucked 16 times for ``train``, and 4 times each for ``validation`` and ``test``:
    harder or softer, at another place, with another decay; all of a pluck follows from ``seed``
    and its number.
    """

    name = "strings"
    splits = tuple(PLUCKS)
    ignored = ()

    def __init__(self, sample_rate: int, seed: int):
        check_seed(seed)
        if sample_rate < LOWEST_RATE:
            raise DataError(
                f"strings need a sample rate of {LOWEST_RATE} Hz or more, got {sample_rate}"
            )
        self._sample_rate = sample_rate
        self._seed = seed

    def open(self, *splits: str) -> Sounds:
        plucks = [
            (label, number)
            for split in splits
            for label in range(len(PITCHES))
            for number in PLUCKS[split]
        ]
        sounds = [
            pluck(PITCHES[label], self._sample_rate, _uniform(self._seed, label, number))
            for label, number in plucks
        ]
        return Sounds.join(
            self.name,
            "+".join(splits),
            sounds,
            np.array([label for label, _ in plucks], np.int32),
            NAMES,
            self._sample_rate,
            digest(self.name, self._seed, self._sample_rate, plucks),
        )


def _uniform(seed: int, label: int, number: int) -> Float[np.ndarray, " n"]:
    """Numbers in [0, 1), the same for all time: see ``permutation``."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_PLUCKS, label, number))
    return (np.random.Philox(sequence).random_raw(4096) >> 11) * 2.0**-53


def pluck(
    pitch: float, sample_rate: int, uniform: Float[np.ndarray, " n"]
) -> Int16[np.ndarray, " samples"]:
    """One pluck of a string of ``pitch`` Hz; five of the ``uniform`` numbers say how, the others
    are the noise."""
    from scipy import signal

    how, noise = uniform[:5], 2.0 * uniform[5:] - 1.0
    period = sample_rate / pitch
    burst = np.zeros(round(SECONDS * sample_rate))
    turn = round(period)
    soft = 0.6 + 0.3 * how[0]
    burst[:turn] = signal.lfilter([1.0 - soft], [1.0, -soft], noise[:turn])
    place = max(1, round((0.1 + 0.4 * how[1]) * period))
    burst[place:] -= burst[:-place].copy()  # the wave from the other end; no constant remains
    decay = 10.0 ** (-3.0 / (pitch * (2.0 + 3.0 * how[2])))  # by 60 dB in 2 to 5 seconds
    dull = 0.01 + 0.05 * how[3]
    loop = np.convolve([dull, 1.0 - 2.0 * dull, dull], _interpolation(period % 1.0 + 1.0))
    delay = int(period) - 2  # of the first tap: those after it delay by 1, and by 1 to 2
    feedback = np.zeros(delay + len(loop))
    feedback[0] = 1.0
    feedback[delay:] -= decay * loop
    sound = signal.lfilter([1.0], feedback, burst)
    level = 0.3 + 0.6 * how[4]
    return np.round(sound * (level * (2**15 - 1) / np.abs(sound).max())).astype(np.int16)


def _interpolation(delay: float) -> Float[np.ndarray, " four"]:
    """Lagrange's cubic: four taps that delay by 1 to 2 samples, never louder than one."""
    k = np.arange(4)
    others = [np.delete(k, i) for i in k]
    return np.array(
        [np.prod((delay - other) / (i - other)) for i, other in zip(k, others, strict=True)]
    )
