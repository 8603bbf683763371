"""Every kind of mesh: what the types of arrays say about it, and what a step does about that.

Over an automatic mesh they say nothing: XLA spreads what a program computes. Over an *explicit* one
(the default of ``jax.make_mesh``) an array's type says how it is sharded, and many operations
require an explicit output sharding: within ``automatic``, XLA chooses it again. Under the check of
``jax.shard_map`` the type says over which axes an array may *vary* from device to device, and what
a loop carries must have one type throughout: ``vary_like``. Where a step runs once on each device,
``mean_gradients`` averages their gradients.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from gen_jax.typing import Array, Params

T = TypeVar("T")


# Explicit meshes


def automatic(function: Callable[..., T], specs: Any, *args: Any) -> T:
    """``function(*args)``, where explicit axes of a mesh are automatic ones within.

    ``specs``, a prefix of the results' tree, says how they are spread as they leave it. Nothing is
    done where no argument lives on a mesh with such axes.
    """
    meshes = (jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(args))
    mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
    if mesh is None:
        return function(*args)
    layouts = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs,
        is_leaf=lambda spec: isinstance(spec, PartitionSpec),
    )
    auto_axes: Any = jax.sharding.auto_axes
    return auto_axes(function, axes=mesh.explicit_axes, out_sharding=layouts)(*args)


def training_step(step: Callable[..., T]) -> Callable[..., T]:
    """Lets ``step(state, batch, **options) -> (state, metrics)`` run over explicit meshes too.

    The state stays spread as it is, and metrics are the same on all devices.
    """

    @functools.wraps(step)
    def run(state: Any, batch: Any, **options: Any) -> T:
        specs = jax.tree.map(_spec, state), PartitionSpec()
        return automatic(functools.partial(step, **options), specs, state, batch)

    return run


def evaluation_step(step: Callable[..., T]) -> Callable[..., T]:
    """Lets ``step(state, batch, **options) -> metrics [B]`` run over explicit meshes too.

    Metrics are spread as the batch is.
    """

    @functools.wraps(step)
    def run(state: Any, batch: Any, **options: Any) -> T:
        spec = batch_spec(next(iter(batch.values())))
        return automatic(functools.partial(step, **options), spec, state, batch)

    return run


def batch_spec(x: Array) -> PartitionSpec:
    """How results for each example of ``x`` [B, ...] are sharded along with them."""
    return PartitionSpec(_spec(x)[0])


def _spec(x: Array) -> PartitionSpec:
    return jax.typeof(x).sharding.spec


# Axes of ``jax.shard_map``


def varying(tree: Any) -> frozenset[str]:
    """The axes over whose devices a leaf of ``tree`` may differ, where JAX keeps account."""
    return frozenset().union(*(jax.typeof(leaf).mat.varying for leaf in jax.tree.leaves(tree)))


def vary_like(tree: T, other: Any) -> T:
    """``tree``, marked as varying over all axes that ``other`` varies over: the start of a loop
    that meets ``other`` on its way."""
    return vary(tree, varying(other))


def vary(tree: T, axes: frozenset[str]) -> T:
    """``tree``, marked as varying over ``axes``; its values stay."""

    def cast(x: Array) -> Array:
        new = tuple(sorted(axes - varying(x)))
        return lax.pcast(x, new, to="varying") if new else x

    return jax.tree.map(cast, tree)


def per_device(tree: T, axis_name: str | None) -> T:
    """Parameters that all devices share as each device's own, to differentiate by.

    A gradient in them is that of a device's own examples, as under ``jax.pmap``. Without it, under
    the check of ``jax.shard_map``, it would be summed over the devices already.
    """
    manual = jax.sharding.get_abstract_mesh().manual_axes
    return vary(tree, frozenset(axis for axis in manual if axis == axis_name))


# All devices' examples


def gathered(tree: T, axis_name: str | None) -> T:
    """The global batch of what is spread over ``axis_name``, in order, the same on all devices.

    Under jit, where there is no such axis, a batch is the global one already.
    """
    if axis_name is None:
        return tree
    # Known to be the same on all devices where JAX checks that.
    return lax.all_gather(tree, axis_name, tiled=True, to="invarying")


# Averages over devices


def mean_gradients(
    loss: Callable[[Params], tuple[Array, Any]], params: Params, axis_name: str | None
) -> tuple[Params, Array, Any]:
    """The gradients of ``loss(params) -> (value, aux)``, its value and ``aux``, averaged over the
    devices of ``axis_name``.

    Under jit, where there is no such axis, the loss is of the whole batch already. Raises
    ``ValueError`` where the loss differs over an axis of ``jax.shard_map`` that is not named: JAX
    would sum the gradients over it.
    """
    params = per_device(params, axis_name)
    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
    if axes := sorted(varying(value) - varying(params)):
        raise ValueError(
            f"the batch is spread over the mesh axis {axes[0]!r}, which the step averages over "
            f"only when called with axis_name={axes[0]!r}"
        )
    return mean_over_devices((grads, value, aux), axis_name)


def mean_over_devices(tree: Any, axis_name: str | None) -> Any:
    """Averages over ``axis_name``; the identity under jit, where the mesh already sees all."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)
