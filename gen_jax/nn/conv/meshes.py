"""Bilinear maps of arrays that live on a mesh of devices.

Under automatic axes the compiler divides the work, and nothing is to be done here. Over manual
axes (``jax.shard_map``) the result varies as either operand does: an operand that varies over
fewer axes is cast, so that its cotangent is summed over the rest. Explicit axes become automatic
inside the map; outside, the result is sharded along each axis as the operand that gives it that
axis.
"""

import collections
from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec

from gen_jax.meshes import automatic, vary, varying
from gen_jax.nn.conv.geometry import AXES, Roles, kept_axis
from gen_jax.typing import Array


def on_any_mesh(
    function: Callable[[Array, Array], Array], roles: Roles, a: Array, b: Array
) -> Array:
    """``function(a, b)``. Raises ``ValueError`` where the operands' shardings do not allow it."""

    def inside(a: Array, b: Array) -> Array:
        return function(*varying_alike(a, b))

    return automatic(inside, _result_spec(roles, a, b), a, b)


def varying_alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Both operands, cast to vary over the manual axes that either varies over."""
    for v in (a, b):
        _refuse_partial_sums(v, jax.typeof(v).mat.unreduced)
    cast = vary((a, b), varying((a, b)))
    for v in cast:
        _refuse_partial_sums(v, jax.typeof(v).mat.reduced)
    return cast


def _refuse_partial_sums(operand: Array, axes: frozenset) -> None:
    if axes:
        raise ValueError(
            f"a convolution takes no operand that is unreduced or reduced over {sorted(axes)}, got "
            f"{jax.typeof(operand)}: use jax.lax.psum or jax.sharding.reshard before"
        )


def _result_spec(roles: Roles, a: Array, b: Array) -> PartitionSpec:
    entries: list = [None] * a.ndim
    for role, operand in zip(roles[:2], (a, b), strict=True):
        spec = jax.typeof(operand).sharding.spec
        _refuse_partial_sums(operand, spec.unreduced | spec.reduced)
        named = {axis % operand.ndim for axis in AXES[role].values()}
        if any(entry and axis not in named for axis, entry in enumerate(spec)):
            raise ValueError(
                "a convolution may be sharded over batch and channels, not over pixels or taps, "
                f"got {jax.typeof(operand)}: jax.sharding.reshard changes that"
            )
        source, target = kept_axis(role, roles[2])
        entries[target] = spec[source]
    names = [n for e in entries if e for n in (e if isinstance(e, tuple) else (e,))]
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise ValueError(
            f"a convolution of {jax.typeof(a)} and {jax.typeof(b)} would be sharded twice over "
            f"{twice}: replicate one of the two by jax.sharding.reshard"
        )
    return PartitionSpec(*entries)
