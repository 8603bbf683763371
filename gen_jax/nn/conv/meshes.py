"""How the operands of a bilinear map meet on a mesh, by the types that JAX gives arrays there.

Automatic axes need nothing. Over manual axes, those of ``jax.shard_map``, the result varies as
either operand does, so an operand that is the same on all devices is cast to vary, and its
cotangent is summed over them. Explicit axes are automatic inside the map, where the compiler
divides the work; outside, the result is sharded as the operands are along the axes that it takes
from them.
"""

import collections
from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from gen_jax.nn.conv.geometry import AXES, Roles, kept_axes
from gen_jax.typing import Array

NO_MESH = AbstractMesh((), ())


def joined(function: Callable[[Array, Array], Array], roles: Roles, a: Array, b: Array) -> Array:
    """``function(a, b)``, bilinear, on any mesh. Raises ``ValueError`` where types do not fit."""
    candidates = (jax.sharding.get_abstract_mesh(), *(jax.typeof(v).sharding.mesh for v in (a, b)))
    mesh = next((m for m in candidates if m.explicit_axes), NO_MESH)
    for operand in (a, b):
        _refuse_partial_sums(operand)
    if mesh.empty:
        return function(*alike(a, b))
    inside = jax.sharding.auto_axes(
        lambda a, b: function(*alike(a, b)),
        axes=mesh.explicit_axes,
        out_sharding=NamedSharding(mesh, _result_spec(roles, a, b)),
    )
    return inside(a, b)


def alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Both, varying over the manual axes that either varies over."""
    varying = [jax.typeof(v).manual_axis_type.varying for v in (a, b)]
    a, b = (
        lax.pcast(v, tuple(frozenset.union(*varying) - own), to="varying")
        for v, own in zip((a, b), varying, strict=True)
    )
    return a, b


def _refuse_partial_sums(operand: Array) -> None:
    kind = jax.typeof(operand)
    for holder in (kind.sharding.spec, kind.manual_axis_type):
        if holder.unreduced or holder.reduced:
            raise ValueError(
                f"a convolution wants operands that are neither unreduced nor reduced, got {kind}: "
                "sum it over the mesh first (jax.sharding.reshard, jax.lax.psum)"
            )


def _result_spec(roles: Roles, a: Array, b: Array) -> PartitionSpec:
    spec: list = [None] * a.ndim
    for role, operand in zip(roles[:2], (a, b), strict=True):
        given = tuple(jax.typeof(operand).sharding.spec)
        channels = {axis % operand.ndim for axis in AXES[role].values()}
        if any(entry and axis not in channels for axis, entry in enumerate(given)):
            raise ValueError(
                "a convolution is sharded over batch or channels, never over pixels or taps, got "
                f"{jax.typeof(operand)}: change that by jax.sharding.reshard"
            )
        source, target = kept_axes(role, roles[2])
        spec[target] = given[source]
    names = [n for entry in spec if entry for n in (entry if isinstance(entry, tuple) else [entry])]
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise ValueError(
            f"a convolution of {jax.typeof(a)} and {jax.typeof(b)} would be sharded over {twice} "
            "twice: replicate one of them by jax.sharding.reshard"
        )
    return PartitionSpec(*spec)
