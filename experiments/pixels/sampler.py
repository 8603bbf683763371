"""Any number of images or sounds from a trained autoregressive model."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from gen_jax import autoregressive
from gen_jax.state import TrainState
from gen_jax.typing import Numbers, PRNGKey


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """Draws examples of ``shape`` (*space, C), ``chunk`` at a time by one compiled program; classes
    in turn."""

    shape: tuple[int, ...]
    n_classes: int | None
    chunk: int

    def __call__(
        self,
        key: PRNGKey,
        state: TrainState,
        n: int,
        *,
        label: np.ndarray | None = None,
        evidence: autoregressive.Evidence | None = None,
        quiet: bool = False,
    ) -> np.ndarray:
        """``n`` examples as they are stored. ``label`` [n] and ``evidence`` (of n examples) are the
        caller's."""
        chunk = min(self.chunk, n)
        if label is None and self.n_classes is not None:
            label = np.arange(n) % self.n_classes
        starts = range(0, n, chunk)
        parts = []
        for start in tqdm(starts, unit=f" × {chunk} drawn", disable=quiet or len(starts) < 2):
            places = np.minimum(np.arange(start, start + chunk), n - 1)  # the last chunk is padded
            told = None if label is None else jnp.asarray(label[places], jnp.int32)
            fixed = jax.tree.map(lambda x, places=places: jnp.asarray(x[places]), evidence)
            numbers = jnp.arange(start, start + chunk)
            parts.append(np.asarray(self._draw(key, state, numbers, told, fixed)))
        return np.concatenate(parts)[:n]

    @functools.cached_property
    def _draw(self) -> Callable[..., jax.Array]:
        @jax.jit
        def draw(key: PRNGKey, state: TrainState, numbers: Numbers, label: Any, evidence: Any):
            return autoregressive.sample(
                state.model,
                state.eval_params,
                key,
                (len(numbers), *self.shape),
                cond=label,
                evidence=evidence,
                numbers=numbers,
            )

        return draw
