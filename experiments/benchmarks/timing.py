"""Measuring compiled functions: compilation apart, repetitions that alternate, medians."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
from jax import export


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function and what compiling it took; ``text`` gives it as XLA optimized it."""

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


def counted_flops(function: Callable[..., Any], *args: Any) -> float | None:
    """Operations of a function of such arrays, as XLA counts them in the program that this platform
    is given, before it is optimized; None where XLA's CPU backend, which counts, is switched off.

    A compiled program would not do: the kernels of libraries in it are not counted. The body of a
    loop, as a recurrent network has one, counts once.
    """
    try:
        (counter, *_) = jax.devices("cpu")
    except RuntimeError:
        return None
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    platform = export.default_export_platform()
    with jax.default_device(counter):  # accelerators' own clients do not count
        traced = jax.jit(function).trace(*shapes)
        analysis = traced.lower(lowering_platforms=(platform,)).cost_analysis()
    return None if analysis is None else float(analysis["flops"])


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
