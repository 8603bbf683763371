"""Reading metrics off the device: are they finite, what are their means, how fast did it go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gen_jax.training.logging import Console, RunLog
from gen_jax.typing import Metrics


class NotFinite(Exception):
    """Something that must be finite is not, after ``step`` updates."""

    def __init__(self, what: str, step: int, *, infinite: bool = False):
        super().__init__(what)
        self.step = step
        self.infinite = infinite


class Meter:
    """Turns each dispatch's metrics into rows of means over ``log_every`` updates, and a speed."""

    def __init__(self, batch_size: int, log_every: int, log: RunLog | None, console: Console):
        if log_every < 1:
            raise ValueError(f"log_every must be at least 1, got {log_every}")
        self._batch_size, self._log_every = batch_size, log_every
        self._log, self._console = log, console
        self._sums: dict[str, float] = {}
        self._summed = 0
        self._last = time.perf_counter()
        self._first_dispatch: tuple[int, float] | None = None
        self._steps, self._seconds = 0, 0.0  # of the dispatches after the first
        self._notes: dict[str, float] = {}

    @property
    def examples_per_s(self) -> float:
        """Of all dispatches but the first, which compiles, unless there is no other."""
        steps, seconds = self._steps, self._seconds
        if not steps and self._first_dispatch is not None:
            steps, seconds = self._first_dispatch
        return steps * self._batch_size / max(seconds, 1e-9)

    def note(self, name: str, value: float) -> None:
        """Adds a value to the next row alone."""
        self._notes[name] = value

    def read(self, first: int, n: int, metrics: Metrics) -> None:
        """Waits for the ``n`` steps after update ``first`` and takes in their metrics.

        Raises ``NotFinite`` on the first that is not.
        """
        host = {name: np.asarray(x)[:n] for name, x in metrics.items()}
        elapsed = time.perf_counter() - self._last
        self._last += elapsed
        if self._first_dispatch is None:
            self._first_dispatch = n, elapsed
        else:
            self._steps += n
            self._seconds += elapsed
        _check_finite(first, host)
        rate = n * self._batch_size / max(elapsed, 1e-9)
        done = 0
        while done < n:
            take = min(n - done, self._log_every - (first + done) % self._log_every)
            for name, x in host.items():
                part = float(np.sum(x[done : done + take], dtype=np.float64))
                self._sums[name] = self._sums.get(name, 0.0) + part
            done += take
            self._summed += take
            if (first + done) % self._log_every == 0:
                self._write_row(first + done, rate)
        losses = [name for name in host if name.rpartition("/")[2] == "loss"]
        name = losses[0] if losses else next(iter(host))
        self._console.progress(first + n, name, float(host[name][-1]), rate)

    def flush(self, step: int) -> None:
        """Writes the row of the updates since the last one, if there were any."""
        if self._summed:
            self._write_row(step, self.examples_per_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps the time of a ``with`` block out of the speed."""
        yield
        self._last = time.perf_counter()

    def _write_row(self, step: int, rate: float) -> None:
        if self._log is not None:
            means = {f"train/{name}": total / self._summed for name, total in self._sums.items()}
            self._log.scalars(step, {**means, "speed/examples_per_s": rate, **self._notes})
        self._sums, self._summed, self._notes = {}, 0, {}


def _check_finite(first: int, metrics: dict[str, np.ndarray]) -> None:
    finite = np.all([np.isfinite(x) for x in metrics.values()], axis=0)
    for i in np.flatnonzero(~finite)[:1]:
        name = next(name for name, x in metrics.items() if not np.isfinite(x[i]))
        value = metrics[name][i]
        raise NotFinite(f"{name} is {value}", first + int(i) + 1, infinite=bool(np.isinf(value)))
