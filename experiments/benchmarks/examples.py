"""The batches that the benchmarks train on, and what trains a peer."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

Examples = Mapping[str, np.ndarray]  # each [K, B, ...] as stored
Peer = tuple[Callable[[], None], int]  # what trains the twin, and its number of parameters


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches in memory, [K, B, ...] of each key, one after another."""

    examples: Examples

    @classmethod
    def noise(cls, stored: type[np.integer], shape: tuple[int, ...], *keys: str) -> "Batches":
        limits, random = np.iinfo(stored), np.random.default_rng(0)

        def draw() -> np.ndarray:
            return random.integers(limits.min, limits.max, shape, stored, endpoint=True)

        return cls({key: draw() for key in keys})

    @property
    def batch_size(self) -> int:
        return next(iter(self.examples.values())).shape[1]

    def batch_at(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """The batch of a step, or some of its rows."""
        batch = {key: stack[step % len(stack)] for key, stack in self.examples.items()}
        return batch if rows is None else {key: stack[rows] for key, stack in batch.items()}
