"""The ways of a model of translations: from which images to which, and by what function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gen_jax import training
from gen_jax.state import example_keys
from gen_jax.typing import Array, Batch, Images, PRNGKey, PRNGKeys

CHUNK = 50  # images translated at a time
State = Any


@dataclasses.dataclass(frozen=True)
class Way:
    """From the images ``source`` of a batch to those called ``target``.

    ``function(state, keys, images)`` is pure, and its keys [B] are one an image. ``prefix`` is what
    the metrics of this way begin with, where there are several.
    """

    source: str
    target: str
    function: Callable[[State, PRNGKeys, Images], Images]
    prefix: str = ""

    def __call__(self, state: State, key: PRNGKey, images: np.ndarray) -> np.ndarray:
        """Translates images [n, H, W, C], in chunks, by a key for each that ``key`` says."""
        batch = {"source": images, "number": np.arange(len(images))}
        return self._in_chunks.in_chunks((state, key), batch, CHUNK)

    @functools.cached_property
    def _in_chunks(self) -> training.CompiledEval:
        def translated(given: tuple[State, PRNGKey], batch: Batch) -> Array:
            state, key = given
            return self.function(state, example_keys(key, batch["number"]), batch["source"])

        return training.compile_eval(translated, training.local_mesh())

    def of_any_size(self, state: State, keys: PRNGKeys, images: np.ndarray) -> np.ndarray:
        """Translates a batch by the given keys: a program for each shape of it."""
        return np.asarray(self._compiled(state, keys, images))

    @functools.cached_property
    def _compiled(self) -> Callable[..., Array]:
        return jax.jit(self.function)
