"""Sounds, and folders of them."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.io import wavfile


@pytest.fixture
def a_sound() -> Callable[..., np.ndarray]:
    """Makes a random sound [n], or [n, channels], from a seed."""

    def make(seed: int, n: int = 1000, channels: int | None = None) -> np.ndarray:
        shape = (n,) if channels is None else (n, channels)
        return np.random.default_rng(seed).integers(-20_000, 20_000, shape, np.int16)

    return make


@pytest.fixture
def write_sounds(tmp_path) -> Callable[..., str]:
    """Writes sounds of 8000 Hz by their relative path, and returns the folder's SPEC."""

    def write(files: dict[str, np.ndarray], rate: int = 8000) -> str:
        folder = tmp_path / "sounds"
        for name, sound in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            wavfile.write(folder / name, rate, sound)
        return f"folder:{folder}"

    return write
