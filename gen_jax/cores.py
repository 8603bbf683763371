"""A batch split over the cores of a CPU that JAX sees as one device.

XLA's CPU backend runs the operations of a program one after another, and divides one among cores
only where it is large. A loop of small operations, such as a sampler, keeps one core busy. So the
batch is split into equal pieces, and a thread runs each, all with one compiled program: they run at
once, since JAX orders the programs of a thread but not those of several. What a function gives for
one example must not depend on the others.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of all cores, in how many


def n_cores() -> int:
    """How many cores this process may use: by its affinity, and by a container's quota of time."""
    n = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        n = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # there is no quota
        time, period = map(int, CPU_QUOTA.read_text().split())
        n = min(n, -(-time // period))
    return n


def on_one_cpu(tree: Any) -> bool:
    """Whether nothing is being traced, and all arrays are on one device, a CPU.

    A mesh of one device with explicit axes does not count: its types say how arrays are sharded.
    """
    leaves = jax.tree.leaves(tree)
    with jax.transfer_guard("allow"):
        probe = jnp.zeros(())  # traced where anything is
    if any(isinstance(leaf, Tracer) for leaf in (probe, *leaves)):
        return False
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    devices = set().union(*(array.devices() for array in arrays))
    explicit = any(jax.typeof(array).sharding.mesh.explicit_axes for array in arrays)
    return not explicit and len(devices) == 1 and devices.pop().platform == "cpu"


def pieces(n: int) -> list[slice]:
    """Slices of equal length that cover ``n`` examples, at most one per core; the last may overlap
    the one before it."""
    size = -(-n // min(n_cores(), n))
    return [slice(start, start + size) for start in (*range(0, n - size, size), n - size)]


def at_once(run: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``run(*args)`` for each of ``calls``, in a thread each. ``run`` is a compiled program.

    Nothing is traced or put on a device in a thread, which does not see the caller's JAX settings.
    """
    calls = jax.device_put(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda args: jax.block_until_ready(run(*args)), calls))


def joined(parts: Sequence[Any], n: int) -> Any:
    """The results [B, ...] of ``pieces(n)`` as one tree of NumPy arrays [n, ...]."""

    def join(*parts: Any) -> np.ndarray:
        *others, last = (np.asarray(part) for part in parts)
        missing = n - sum(map(len, others))
        return np.concatenate([*others, last[len(last) - missing :]])

    return jax.tree.map(join, *parts)
