"""Any number of images or sounds from a trained autoregressive model."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from gen_jax import autoregressive, training
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """Draws examples of ``shape`` (*space, C), ``chunk`` at a time by one compiled program on all
    devices; classes in turn."""

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
        examples: dict[str, Any] = {"number": np.arange(n)}
        if label is None and self.n_classes is not None:
            label = np.arange(n) % self.n_classes
        if label is not None:
            examples["label"] = np.asarray(label, np.int32)
        if evidence is not None:
            examples |= {"data": np.asarray(evidence.data), "mask": np.asarray(evidence.mask)}
        starts = range(0, n, chunk)
        parts = []
        for start in starts if quiet or len(starts) < 2 else _shown(starts, chunk):
            places = np.minimum(np.arange(start, start + chunk), n - 1)  # the last chunk is padded
            parts.append(
                self._draw((key, state), {name: x[places] for name, x in examples.items()})
            )
        return np.concatenate(parts)[:n]

    @functools.cached_property
    def _draw(self) -> Callable[..., np.ndarray]:
        def draw(given: tuple[PRNGKey, TrainState], batch: dict[str, Any]) -> jax.Array:
            key, state = given
            evidence = None
            if "data" in batch:
                evidence = autoregressive.Evidence(batch["data"], batch["mask"])
            return autoregressive.sample(
                state.model,
                state.eval_params,
                key,
                (len(batch["number"]), *self.shape),
                cond=batch.get("label"),
                evidence=evidence,
                numbers=batch["number"],
            )

        return training.compile_eval(draw, training.local_mesh(), on_cores=True)


def _shown(starts: range, chunk: int) -> Iterable[int]:
    """The same, with a progress bar."""
    from tqdm import tqdm  # late: many runs show no bar

    return tqdm(starts, unit=f" × {chunk} drawn")
