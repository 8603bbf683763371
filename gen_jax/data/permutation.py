"""Seeded orders that stay the same wherever and whenever they are drawn."""

import operator

import numpy as np
from jaxtyping import Int

from gen_jax.data.errors import DataError


def check_seed(seed: int) -> None:
    """Raises ``DataError`` unless ``seed`` is a whole number from 0 to 2**32 - 1."""
    try:
        right = not isinstance(seed, bool) and 0 <= operator.index(seed) < 2**32
    except TypeError:
        right = False
    if not right:
        raise DataError(f"a seed is a whole number from 0 to 2**32 - 1, got {seed!r}")


def permutation(n: int, seed: int, *purpose: int) -> Int[np.ndarray, " n"]:
    """Returns a permutation of ``range(n)`` that is a pure function of the arguments.

    ``purpose`` are non-negative integers that separate one use of a seed from another.
    It sorts raw Philox words: NumPy promises those for all time and platforms, but promises no
    such thing of ``Generator.permutation``.
    """
    words = np.random.Philox(np.random.SeedSequence(seed, spawn_key=purpose)).random_raw(n)
    return np.argsort(words, kind="stable")
