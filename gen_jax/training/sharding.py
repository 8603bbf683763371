"""Compiling a training step over devices: the one place that jits a step for training.

A step is a pure function of (state, batch). Here it becomes one program that runs up to K steps in
one dispatch, its batch spread over the ``data`` axis of a mesh, its state replicated (or spread
over ``model``) and donated. The number of steps is an *argument* of that program: however a run is
cut into dispatches, by evaluations or by a resume, every step runs the same compiled code, and so
gives the same bits.

A stack of another length is another program. ``fit`` chooses the length once, from its arguments
and the size of a batch, so that a run and its resumes share it. Only a run of fewer steps than
``steps_per_dispatch`` changes it when it is extended; the bits then stay the same on the CPU, for
lengths of two and more (with one there is nothing to index, and XLA fuses otherwise), but XLA
promises that nowhere.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool

from gen_jax.training.stacks import BatchSource, stacked
from gen_jax.typing import Array, Metrics

State = Any  # the family's training state, a pytree with a ``step``
Step = Callable[..., tuple[Any, Metrics]]
StateSpec = Callable[[Any], PartitionSpec]
AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None, *, model: int = 1) -> Mesh:
    """Arranges devices (default: all, of all processes) as a mesh with axes (``data``, ``model``).

    Raises ``ValueError`` where ``model`` does not divide the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if model < 1 or len(devices) % model:
        raise ValueError(f"model={model} does not divide the {len(devices)} devices")
    shape = (len(devices) // model, model)
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, (AXIS, "model"), axis_types=auto, devices=devices)


def local_mesh() -> Mesh:
    """This process's own devices, for work that it does without the others."""
    return make_mesh(jax.local_devices())


def compile_step(
    step: Step,
    mesh: Mesh | None = None,
    *,
    steps_per_dispatch: int = 1,
    how: Literal["jit", "pmap"] = "jit",
    state_spec: StateSpec | None = None,
) -> "CompiledStep":
    """Makes one program of up to ``steps_per_dispatch`` calls of ``step(state, batch)``.

    ``mesh`` defaults to all devices. ``state_spec(leaf)`` says how a leaf of the state is spread,
    ``PartitionSpec(None, "model")`` say; without it the state is replicated. Under ``how="pmap"``
    the step is called with ``axis_name="data"`` and averages over that axis itself. Where
    ``jax_debug_nans`` or ``jax_debug_infs`` is set nothing is donated, so that JAX can run the
    failing dispatch again, operation by operation.
    """
    if steps_per_dispatch < 1:
        raise ValueError(f"steps_per_dispatch must be at least 1, got {steps_per_dispatch}")
    mesh = mesh or make_mesh()
    donate = () if _is_set("jax_debug_nans") or _is_set("jax_debug_infs") else (0,)
    if how == "pmap":
        if state_spec is not None or mesh.size != mesh.shape[AXIS]:
            raise ValueError("pmap replicates the state: a model axis needs how='jit'")
        devices = list(mesh.devices.flat)
        local = [d for d in devices if d.process_index == jax.process_index()]
        run = jax.pmap(
            _repeat(lambda state, batch: step(state, batch, axis_name=AXIS)),
            axis_name=AXIS,
            in_axes=(0, 0, None),
            donate_argnums=donate,
            devices=devices,
        )
        mesh = Mesh(np.asarray(local), (AXIS,), axis_types=(AxisType.Auto,))
        return CompiledStep(mesh, "pmap", steps_per_dispatch, len(devices), None, run)
    if how != "jit":
        raise ValueError(f"how must be 'jit' or 'pmap', got {how!r}")

    replicated = NamedSharding(mesh, PartitionSpec())
    repeat = _repeat(step)

    def constrained(state: State, batches: Any, n: Array) -> tuple[State, Metrics]:
        state, metrics = repeat(state, batches, n)
        return _constrain(state, mesh, state_spec), metrics

    run = jax.jit(
        constrained,
        donate_argnums=donate,
        out_shardings=(replicated if state_spec is None else None, replicated),
    )
    return CompiledStep(mesh, "jit", steps_per_dispatch, mesh.shape[AXIS], state_spec, run)


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledStep:
    """A compiled step, and how states and batches get onto and off its devices.

    Made by ``compile_step``. A *placed* state lives on the devices in the program's layout, which
    under pmap has a leading device axis; ``snapshot`` gives it back in the shape of ``place``'s
    argument.
    """

    mesh: Mesh  # under pmap, this process's devices only
    how: Literal["jit", "pmap"]
    steps_per_dispatch: int
    n_shards: int  # parts a global batch is cut into, over all processes
    state_spec: StateSpec | None
    _run: Callable[..., tuple[State, Metrics]]
    _snapshot: Callable[[State], tuple[State, Bool[Array, ""]]] = dataclasses.field(init=False)

    def __post_init__(self):
        if self.how == "pmap":
            snapshot = jax.jit(lambda state: _copy_and_check(jax.tree.map(lambda x: x[0], state)))
        else:
            # Over several processes a checkpoint's writer must be able to read all of it.
            spread = self.state_spec if jax.process_count() == 1 else None
            replicated = NamedSharding(self.mesh, PartitionSpec())

            def constrained(state: State) -> tuple[State, Array]:
                copy, finite = _copy_and_check(state)
                return _constrain(copy, self.mesh, spread), finite

            out = (replicated if spread is None else None, replicated)
            snapshot = jax.jit(constrained, out_shardings=out)
        object.__setattr__(self, "_snapshot", snapshot)

    def place(self, state: State) -> State:
        """Copies a state onto the devices; the given one stays valid when this one is donated."""
        if self.how == "pmap":
            n_local, sharding = self.mesh.size, NamedSharding(self.mesh, PartitionSpec(AXIS))
            return jax.tree.map(
                lambda x: put(x, lambda host: np.repeat(host[None], n_local, 0), sharding), state
            )
        spec = self.state_spec or (lambda leaf: PartitionSpec())
        return jax.tree.map(
            lambda x: put(x, np.copy, NamedSharding(self.mesh, spec(x))),
            state,
        )

    def gather(
        self, batches: BatchSource, first: int, n: int, *, at_most: int | None = None
    ) -> dict[str, Array]:
        """Puts the batches of updates ``first .. first + n - 1`` onto the devices, as one stack.

        The stack is ``at_most`` (by default ``steps_per_dispatch``) batches long, or as many as fit
        into ``STACK_BYTES``; of ``n`` more, only those are read. Each length is one program.
        Several processes: each gathers the rows of its own devices only. Raises ``ValueError``
        where the batch cannot be cut evenly.
        """
        size = batches.batch_size
        if size % self.n_shards:
            raise ValueError(
                f"a batch of {size} cannot be spread evenly over {self.n_shards} devices: "
                f"choose a multiple of {self.n_shards}"
            )
        part = size // self.n_shards
        if self.how == "pmap":
            lead = jax.process_index() * self.mesh.size * part
            end = lead + self.mesh.size * part
            sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        else:
            sharding = NamedSharding(self.mesh, PartitionSpec(None, AXIS))
            mine: Any = sharding.addressable_devices_indices_map((1, size)).values()
            bounds = [rows.indices(size) for _, rows in mine]
            lead, end = min(b[0] for b in bounds), max(b[1] for b in bounds)
        rows = None if end - lead == size else slice(lead, end)

        def placed(x: np.ndarray) -> Array:
            if self.how == "pmap":
                x = x.reshape(len(x), self.mesh.size, part, *x.shape[2:])
                return jax.device_put(np.moveaxis(x, 1, 0), sharding)  # [D, K, B / D, ...]

            def part_of(index: Any) -> np.ndarray:
                start, stop, _ = index[1].indices(size)
                return x[:, start - lead : stop - lead]

            shape = (len(x), size, *x.shape[2:])  # [K, B, ...]
            return jax.make_array_from_callback(shape, sharding, part_of)

        at_most = at_most or self.steps_per_dispatch
        stack = stacked(batches, first, n, at_most=at_most, rows=rows)
        return {name: placed(x) for name, x in stack.items()}

    def length(self, stack: dict[str, Array]) -> int:
        """How many batches a stack has room for."""
        return next(iter(stack.values())).shape[1 if self.how == "pmap" else 0]

    def __call__(self, state: State, batches: dict[str, Array], n: int) -> tuple[State, Metrics]:
        """Runs the first ``n`` of the stacked batches; the placed state given is donated.

        Each metric comes back with one value a batch of the stack, of which the first ``n`` count.
        Raises ``ValueError`` where the stack holds fewer.
        """
        if n > (length := self.length(batches)):
            raise ValueError(f"cannot run {n} steps on a stack of {length} batches")
        with _debugging():
            state, metrics = self._run(state, batches, np.int32(n))
        if self.how == "pmap":
            metrics = {name: x.addressable_shards[0].data[0] for name, x in metrics.items()}
        return state, metrics

    def snapshot(self, state: State) -> tuple[State, Bool[Array, ""]]:
        """Copies a placed state on its devices, in the shape it had before ``place``.

        Also says whether it is sound: no NaN anywhere, and no infinity outside ``opt_state``
        (where optimizers keep some on purpose).
        """
        if self.how == "pmap":
            state = jax.tree.map(lambda x: x.addressable_shards[0].data, state)
        return self._snapshot(state)


def local_copy(state: State) -> State:
    """A replicated state as arrays of this process alone, which it can use without the others."""
    if jax.process_count() == 1:
        return state
    return jax.tree.map(lambda x: x.addressable_data(0), state)


def _repeat(step: Step) -> Callable[[State, Any, Array], tuple[State, Metrics]]:
    """The program: the first ``n`` steps over stacked batches, metrics written into buffers."""
    step = jax.jit(step, inline=True)  # so that finding the metrics' shapes does not trace twice

    def repeat(state: State, batches: Any, n: Array) -> tuple[State, Metrics]:
        length = len(jax.tree.leaves(batches)[0])

        def batch_at(i: Array | int) -> Any:
            return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), batches)

        def body(i: Array | int, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, buffers = carry
            state, metrics = step(state, batch_at(i))
            return state, jax.tree.map(lambda b, m: b.at[i].set(m), buffers, metrics)

        _, shapes = jax.eval_shape(step, state, batch_at(0))
        if not shapes:
            raise ValueError("the step returns no metrics; it must return at least its loss")
        for name, metric in shapes.items():
            if metric.shape:
                raise ValueError(f"metric {name!r} must be a scalar, got shape {metric.shape}")
        carry = state, jax.tree.map(lambda m: jnp.zeros((length,), m.dtype), shapes)
        if isinstance(n, Tracer):
            return lax.fori_loop(0, n, body, carry)
        # JAX runs this again without jit to find a NaN; a loop would hide the operation.
        for i in range(int(n)):
            carry = body(i, carry)
        return carry

    return repeat


@contextmanager
def _debugging() -> Iterator[None]:
    """Sets ``jax_debug_nans`` and ``jax_debug_infs`` again, for this thread, where they are set.

    JAX forgets them for a thread that has left one of its own ``with debug_nans(False)`` blocks,
    as happens when it traces a gradient through a jitted function (jax 0.10.2 and 0.12.0.1).
    """
    with ExitStack() as stack:
        if _is_set("jax_debug_nans"):
            stack.enter_context(jax.debug_nans(True))
        if _is_set("jax_debug_infs"):
            stack.enter_context(jax.debug_infs(True))
        yield


def _is_set(flag: str) -> bool:
    return getattr(jax.config, flag)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def put(leaf: Any, layout: Callable[[np.ndarray], np.ndarray], sharding: NamedSharding) -> Array:
    """Places one leaf of a state, going through memory of its own: a donated buffer is reused."""
    if _is_key(leaf):
        data = put(jax.random.key_data(leaf), layout, sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = layout(np.asarray(leaf))
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _constrain(state: State, mesh: Mesh, spec: StateSpec | None) -> State:
    if spec is None:
        return state
    return jax.tree.map(
        lambda x: lax.with_sharding_constraint(x, NamedSharding(mesh, spec(x))), state
    )


def _copy_and_check(state: State) -> tuple[State, Bool[Array, ""]]:
    sound = jnp.ones((), bool)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            optimizer = any(getattr(key, "name", None) == "opt_state" for key in path)
            bad = jnp.isnan(leaf) if optimizer else ~jnp.isfinite(leaf)
            sound &= ~bad.any()
    return jax.tree.map(jnp.copy, state), sound
