"""The pitch of a sound, by YIN (de Cheveigné & Kawahara 2002)."""

import math

import numpy as np
from jaxtyping import Float

CLEAR = 0.1  # a dip below is a period (step 4 of the paper)
NONE = 0.5  # no dip below: no pitch


def find_pitch(
    sound: np.ndarray, sample_rate: int, *, lowest: float = 50.0, highest: float = 1000.0
) -> float:
    """The fundamental frequency of a sound [T] of any numeric type, in Hz; NaN where there is none.

    It is taken to stay the same throughout, and is sought from ``lowest`` to ``highest``. Raises
    ``ValueError`` for a sound too short for the lowest, or a highest that the rate cannot hold.
    """
    x = np.asarray(sound, np.float64)
    longest = math.ceil(sample_rate / lowest) + 1
    shortest = math.floor(sample_rate / highest)
    if x.ndim != 1 or len(x) < 2 * longest:
        raise ValueError(
            f"a pitch from {lowest} Hz up needs a sound [T] of {2 * longest} samples or more at "
            f"{sample_rate} Hz, got {x.shape}"
        )
    if shortest < 2:
        raise ValueError(f"{highest} Hz is too high for a sample rate of {sample_rate} Hz")
    x = x - x.mean()
    if not x.any():
        return math.nan
    difference = _normalized_difference(x, longest)
    lag = _first_dip(difference, shortest)
    if difference[lag] > NONE:
        return math.nan
    return sample_rate / _refined(difference, lag)


def _normalized_difference(
    x: Float[np.ndarray, " time"], longest: int
) -> Float[np.ndarray, " lags"]:
    """d'(τ), τ = 0 .. longest: the squared difference of the sound and itself τ later, over the
    mean of the same for all shorter τ (equations 6 and 8)."""
    n = len(x) - longest  # samples compared
    size = 1 << (len(x) + n).bit_length()
    product = np.fft.rfft(x, size) * np.conj(np.fft.rfft(x[:n], size))
    together = np.fft.irfft(product, size)[: longest + 1]
    energy = np.cumsum(np.concatenate([[0.0], x**2]))
    later = energy[n : n + longest + 1] - energy[: longest + 1]
    difference = np.maximum(energy[n] + later - 2.0 * together, 0.0)
    lags = np.arange(1, longest + 1)
    mean = np.cumsum(difference[1:]) / lags
    return np.concatenate([[1.0], difference[1:] / np.maximum(mean, 1e-12)])


def _first_dip(difference: Float[np.ndarray, " lags"], shortest: int) -> int:
    """The first clear minimum, else the deepest: a multiple of the period dips as low."""
    lags = np.arange(shortest, len(difference) - 1)
    here = difference[lags]
    dips = lags[(here <= difference[lags - 1]) & (here < difference[lags + 1])]
    clear = dips[difference[dips] < CLEAR]
    if len(clear):
        return int(clear[0])
    return int(lags[here.argmin()])


def _refined(difference: Float[np.ndarray, " lags"], lag: int) -> float:
    """The period in fractions of a sample: that of the dip at ``lag``, then of those at twice,
    four times, ... as many, where an error counts less and less."""
    period, turns = lag + _offset(*difference[lag - 1 : lag + 2]), 1
    while 2.0 * turns * period < len(difference) - 3:
        turns *= 2
        near = round(turns * period) - 1
        near += int(difference[near : near + 3].argmin())
        period = (near + _offset(*difference[near - 1 : near + 2])) / turns
    return period


def _offset(before: float, here: float, after: float) -> float:
    """Where the parabola through three points at -1, 0, 1 has its minimum (step 5)."""
    bend = before - 2.0 * here + after
    return 0.0 if bend <= 0.0 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
