"""Compiling a function of (state, batch) over devices for evaluation: each example's own result.

Where ``compile_step`` makes a program that trains, this makes one that evaluates: the batch is
spread over the ``data`` axis of a mesh, the state is replicated and kept, and the result comes
back to the host.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gen_jax import cores
from gen_jax.training.sharding import AXIS, State, make_mesh, put


def compile_eval(
    function: Callable[[State, Any], Any], mesh: Mesh | None = None, *, on_cores: bool = False
) -> "CompiledEval":
    """Makes a program of ``function(state, batch)`` whose batch is spread over the devices.

    ``batch`` is a pytree of arrays [B, ...], of any B, and so is the result. What the function
    gives for one example must not depend on the others: B is filled up to a multiple of the
    devices with copies of the last example, whose results are dropped. Options are bound with
    ``functools.partial``.

    ``on_cores`` cuts the batch over a CPU's cores, too, where the mesh is one such device: for
    loops of small operations, such as samplers, each of which XLA leaves to one core
    (``gen_jax.cores``).

    ``mesh`` defaults to all devices, of all processes; then every process must call with the same
    whole batch, in the same order, and every one gets the whole result. A process that evaluates
    alone takes ``local_mesh()`` and a ``local_copy`` of the state.
    """
    mesh = mesh or make_mesh()
    replicated, spread = _layouts(mesh)

    @functools.wraps(function)  # its name is that of the program
    def checked(state: State, batch: Any) -> Any:
        result = function(state, batch)
        n = len(jax.tree.leaves(batch)[0])
        for path, x in jax.tree_util.tree_leaves_with_path(result):
            if np.shape(x)[:1] != (n,):
                name = jax.tree_util.keystr(path)
                raise ValueError(
                    f"result{name} must have one row per example, [{n}, ...], got {np.shape(x)}"
                )
        return lax.with_sharding_constraint(result, spread)  # computed apart, then gathered

    run = jax.jit(checked, in_shardings=(replicated, spread), out_shardings=replicated)
    cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
    return CompiledEval(mesh, run, on_cores and cpu)


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledEval:
    """A function compiled for evaluation. Made by ``compile_eval``."""

    mesh: Mesh
    _run: Any  # jitted
    _on_cores: bool

    def place(self, state: State) -> State:
        """Replicates a state on the devices; what is there already is not copied.

        A call does so by itself: worth doing once before many calls, for a state that comes from
        elsewhere.
        """
        replicated, _ = _layouts(self.mesh)

        def placed(leaf: Any) -> Any:
            here = leaf.sharding if isinstance(leaf, jax.Array) else None
            if here is None or not here.is_equivalent_to(replicated, leaf.ndim):
                return put(leaf, np.copy, replicated)
            # Copies nothing; another name for the same layout would be compiled again.
            return jax.device_put(leaf, replicated)

        return jax.tree.map(placed, state)

    def __call__(self, state: State, batch: Any) -> Any:
        """The function's result for a batch, as NumPy arrays [B, ...].

        Raises ``ValueError`` for a batch without examples, or whose arrays differ in their number.
        """
        n = _n_examples(batch)
        _, spread = _layouts(self.mesh)
        missing = -n % self.mesh.shape[AXIS]

        def filled(rows: np.ndarray) -> np.ndarray:
            return np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows

        state = self.place(state)
        batch = jax.tree.map(lambda x: put(x, filled, spread), batch)
        pieces = cores.pieces(n) if self._on_cores else []
        if len(pieces) > 1:
            some = [jax.tree.map(lambda x, rows=rows: x[rows], batch) for rows in pieces]
            run = self._run.lower(state, some[0]).compile()
            return cores.joined(cores.at_once(run, [(state, rows) for rows in some]), n)
        result = self._run(state, batch)
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0))[:n], result)

    def in_chunks(self, state: State, batch: Any, size: int) -> Any:
        """The function's result for a batch of any length, computed ``size`` rows at a time.

        One program does all: the last chunk is filled up with copies of the last example, whose
        results are dropped. Raises ``ValueError`` for a ``size`` below 1, and as a call does.
        """
        if size < 1:
            raise ValueError(f"a chunk has 1 or more rows, got a size of {size}")
        n = _n_examples(batch)
        size = min(size, n)
        state = self.place(state)
        chunks = []
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            chunks.append(self(state, jax.tree.map(lambda x, rows=rows: x[rows], batch)))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *chunks)


def _n_examples(batch: Any) -> int:
    shapes = [np.shape(x) for x in jax.tree.leaves(batch)]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"a batch must be arrays of B >= 1 examples each, got shapes {shapes}")
    return sizes.pop()


def _layouts(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Those of the state and of the batch."""
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
