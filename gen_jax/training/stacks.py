"""The batches of one dispatch as one stack on the host, within a bound on its memory."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

STACK_BYTES = 64 * 2**20  # of all devices together; while one stack is used the next is prepared


class BatchSource(Protocol):
    """What ``fit`` trains on: the batch of a step is a pure function of its number."""

    @property
    def batch_size(self) -> int:
        """Examples in the global batch."""
        ...

    def batch_at(self, step: int, rows: slice | None = None) -> Mapping[str, np.ndarray]:
        """The global batch of update ``step`` (from 0), or only its ``rows``."""
        ...


def stacked(
    batches: BatchSource, first: int, n: int, *, at_most: int, rows: slice | None
) -> dict[str, np.ndarray]:
    """The batches of updates ``first .. first + n - 1`` as arrays [length, rows, ...].

    The length is ``at_most``, or as many global batches as ``STACK_BYTES`` hold, but at least one.
    It does not depend on ``n``, so that all dispatches of a run share one program; where ``n`` is
    larger the other batches are left for the next stack, where it is smaller the rest is zeros.
    """
    stack: dict[str, np.ndarray] = {}
    length = at_most
    for i in range(n):
        if i == length:
            break
        batch = batches.batch_at(first + i, rows)
        if i == 0:
            length = min(at_most, max(1, STACK_BYTES // _global_bytes(batch, batches.batch_size)))
            stack = {name: np.zeros((length, *x.shape), x.dtype) for name, x in batch.items()}
        for name, x in batch.items():
            stack[name][i] = x
    return stack


def _global_bytes(batch: Mapping[str, np.ndarray], batch_size: int) -> int:
    """Of the whole batch, of which ``batch`` may hold one process's rows."""
    if not batch:
        raise ValueError("a batch must hold at least one array, got none")
    return max(1, sum(x.nbytes * batch_size // max(1, len(x)) for x in batch.values()))
