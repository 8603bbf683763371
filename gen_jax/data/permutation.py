"""Seeded orders and random words that stay the same wherever and whenever they are drawn."""

import operator

import numpy as np
from jaxtyping import Int, UInt64

from gen_jax.data.errors import DataError


def check_seed(seed: int) -> None:
    """Raises ``DataError`` unless ``seed`` is a whole number from 0 to 2**32 - 1."""
    try:
        right = not isinstance(seed, bool) and 0 <= operator.index(seed) < 2**32
    except TypeError:
        right = False
    if not right:
        raise DataError(f"a seed is a whole number from 0 to 2**32 - 1, got {seed!r}")


def random_words(n: int, seed: int, *purpose: int) -> UInt64[np.ndarray, " n"]:
    """Returns ``n`` random words of 64 bits that are a pure function of the arguments.

    ``purpose`` are non-negative integers that separate one use of a seed from another.
    They are raw Philox words: NumPy promises those for all time and platforms, but promises no
    such thing of what its ``Generator`` draws.
    """
    return np.random.Philox(np.random.SeedSequence(seed, spawn_key=purpose)).random_raw(n)


def permutation(n: int, seed: int, *purpose: int) -> Int[np.ndarray, " n"]:
    """Returns a permutation of ``range(n)`` that is a pure function of the arguments: it sorts
    ``random_words``."""
    return np.argsort(random_words(n, seed, *purpose), kind="stable")
