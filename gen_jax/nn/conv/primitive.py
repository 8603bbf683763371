"""Convolution as three maps that are each other's derivatives.

For images x, kernel k and outputs y, the form ``<y, conv(x, k)>`` is linear in each of the three.
Leave one out, and what is left is a bilinear map of the other two:

    (x, k) -> y   the convolution
    (y, k) -> x   its input gradient, which is also the transposed convolution
    (x, y) -> k   its kernel gradient

A geometry that is ``turned`` has its kernel as a transposed convolution does: flipped, and with its
channels exchanged. So the kernel is given to each platform as it is stored.

The derivatives of each map are the other two, so every order of reverse and forward mode stays
among these three. That is why they are primitives: JAX's functions with custom derivatives give
up either forward mode or their rule for the second derivative.

Off the CPU the maps are XLA's own (``xla``); ``cpu`` has the CPU's. ``meshes`` has what they need
on a mesh of devices.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import AbstractMesh

from gen_jax.nn.conv import cpu, meshes
from gen_jax.nn.conv import xla as own
from gen_jax.nn.conv.geometry import (
    APPLY,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    Geometry,
    Roles,
    kept_axis,
)
from gen_jax.typing import Array


def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], kernel [*kernel_size, c_in, c_out] -> [B, *output_size, c_out]."""
    return _bound(_apply_p, APPLY, x, kernel, geometry)


def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """y [B, *output_size, c_out], kernel [*kernel_size, c_in, c_out] -> [B, *input_size, c_in]."""
    return _bound(_input_p, INPUT_GRADIENT, y, kernel, geometry)


def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], y [B, *output_size, c_out] -> [*kernel_size, c_in, c_out]."""
    return _bound(_kernel_p, KERNEL_GRADIENT, x, y, geometry)


def _bound(primitive: Primitive, roles: Roles, a: Array, b: Array, geometry: Geometry) -> Array:
    bind = functools.partial(primitive.bind, geometry=geometry)
    return meshes.on_any_mesh(bind, geometry.named(roles), a, b)


# The primitives


def _primitive(
    name: str, roles: Roles, shape: Callable, elsewhere: Callable, on_cpu: Callable
) -> Primitive:
    """A bilinear map of two operands, which may both have one more axis, in front.

    Along that axis lie separate convolutions, as ``jax.vmap`` over both operands makes them: one
    convolution with feature groups, or on the CPU, where XLA is slow at groups, a loop.
    """
    primitive = Primitive(name)

    def size(a, b, geometry) -> tuple[int, ...]:
        separate = a.ndim - geometry.rank
        return (*a.shape[:separate], *shape(a.shape[separate:], b.shape[separate:], geometry))

    def aval(a, b, *, geometry):
        return a.update(shape=size(a, b, geometry), weak_type=False)

    def lowering(way, each):
        def whole(a, b, *, geometry):
            if 0 in (a.size, b.size):
                return jnp.zeros(size(a, b, geometry), a.dtype)
            one = functools.partial(way, geometry=geometry)
            return one(a, b) if a.ndim == geometry.rank else each(one, a, b)

        return _on_no_mesh(mlir.lower_fun(whole, multiple_results=False))

    def grouped(one, a, b):
        return jax.vmap(one)(a, b)

    def in_turn(one, a, b):
        return lax.map(lambda pair: one(*pair), (a, b))

    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    primitive.def_abstract_eval(aval)
    mlir.register_lowering(primitive, lowering(elsewhere, grouped))
    mlir.register_lowering(primitive, lowering(on_cpu, in_turn), "cpu")
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive, roles)
    return primitive


def _on_no_mesh(lower: Callable) -> Callable:
    """Lowers as for one device: the zeros that a loop starts from vary over no manual axis."""

    def rule(ctx, *args, **params):
        plain = [ShapedArray(a.shape, a.dtype) for a in ctx.avals_in]
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            return lower(ctx.replace(avals_in=plain), *args, **params)

    return rule


def _batch(primitive: Primitive, roles: Roles, operands, mapped, *, geometry):
    """Both operands mapped: separate convolutions. One: a larger batch, or more channels."""
    rank, roles = geometry.rank, geometry.named(roles)
    if None not in mapped:
        a, b = (jnp.moveaxis(v, axis, 0) for v, axis in zip(operands, mapped, strict=True))
        separate = a.shape[:-rank]
        a, b = (v.reshape(math.prod(separate), *v.shape[len(separate) :]) for v in (a, b))
        result = primitive.bind(*meshes.varying_alike(a, b), geometry=geometry)
        return result.reshape(*separate, *result.shape[1:]), 0

    which = 0 if mapped[1] is None else 1
    # The mapped axis joins, as the slower, the axis that the result takes from this operand.
    joined = operands[which]
    separate = joined.ndim - 1 - rank
    source, target = (separate + axis % rank for axis in kept_axis(roles[which], roles[2]))
    joined = jnp.moveaxis(joined, mapped[which], source)
    sizes = joined.shape[source : source + 2]
    joined = joined.reshape(*joined.shape[:source], math.prod(sizes), *joined.shape[source + 2 :])
    a, b = (joined, operands[1]) if which == 0 else (operands[0], joined)
    result = primitive.bind(*meshes.varying_alike(a, b), geometry=geometry)
    return result.reshape(*result.shape[:target], *sizes, *result.shape[target + 1 :]), target


_apply_p = _primitive(
    "convolution",
    APPLY,
    lambda x, kernel, g: (x[0], *g.output_size, g.channels(kernel)[1]),
    own.apply,
    cpu.apply,
)
_input_p = _primitive(
    "convolution_input_gradient",
    INPUT_GRADIENT,
    lambda y, kernel, g: (y[0], *g.input_size, g.channels(kernel)[0]),
    own.input_gradient,
    cpu.input_gradient,
)
_kernel_p = _primitive(
    "convolution_kernel_gradient",
    KERNEL_GRADIENT,
    lambda x, y, g: (*g.kernel_size, *g.channels((x[-1], y[-1]))),
    own.kernel_gradient,
    cpu.kernel_gradient,
)

ad.defbilinear(
    _apply_p,
    lambda y, x, kernel, *, geometry: _input_p.bind(y, kernel, geometry=geometry),
    lambda y, x, kernel, *, geometry: _kernel_p.bind(x, y, geometry=geometry),
)
ad.defbilinear(
    _input_p,
    lambda x, y, kernel, *, geometry: _apply_p.bind(x, kernel, geometry=geometry),
    lambda x, y, kernel, *, geometry: _kernel_p.bind(x, y, geometry=geometry),
)
ad.defbilinear(
    _kernel_p,
    lambda kernel, x, y, *, geometry: _input_p.bind(y, kernel, geometry=geometry),
    lambda kernel, x, y, *, geometry: _apply_p.bind(x, kernel, geometry=geometry),
)
