"""Measuring compiled functions: compilation apart, repetitions that alternate, medians."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function and what compiling it took; ``text`` gives it as optimized by XLA."""

    run: Callable[[], Any]
    compile_s: float
    peak_bytes: int
    text: Callable[[], str | None]

    @classmethod
    def of(cls, function: Callable[..., Any], *args: Any, out_shardings: Any = None) -> Self:
        start = time.perf_counter()
        compiled = jax.jit(function, out_shardings=out_shardings).lower(*args).compile()
        seconds = time.perf_counter() - start
        memory: Any = compiled.memory_analysis()
        peak = int(memory.temp_size_in_bytes) if memory is not None else 0
        return cls(lambda: jax.block_until_ready(compiled(*args)), seconds, peak, compiled.as_text)


def alternate(runs: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Median seconds of each: all in turn, once to warm up, then once or more till the time is
    over."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while not times[0] or time.perf_counter() < end:
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
