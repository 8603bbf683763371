"""Convolution as three maps that are each other's derivatives.

For images x, kernel k and outputs y, the form ``<y, conv(x, k)>`` is linear in each of the three.
Leave one out, and what is left is a bilinear map of the other two:

    (x, k) -> y   the convolution
    (y, k) -> x   its input gradient, which is also the transposed convolution
    (x, y) -> k   its kernel gradient

The derivatives of each map are the other two, so every order of reverse and forward mode stays
among these three. That is why they are primitives: JAX's functions with custom derivatives give
up either forward mode or their rule for the second derivative.

Off the CPU the maps are XLA's own convolution and its transposes; ``cpu`` has the CPU's.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gen_jax.nn.conv import cpu
from gen_jax.nn.conv.geometry import Geometry, xla_convolution
from gen_jax.typing import Array


def apply(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], kernel [*kernel_size, c_in, c_out] -> [B, *output_size, c_out]."""
    return _apply_p.bind(x, kernel, geometry=geometry)


def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """y [B, *output_size, c_out], kernel [*kernel_size, c_in, c_out] -> [B, *input_size, c_in]."""
    return _input_p.bind(y, kernel, geometry=geometry)


def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """x [B, *input_size, c_in], y [B, *output_size, c_out] -> [*kernel_size, c_in, c_out]."""
    return _kernel_p.bind(x, y, geometry=geometry)


# XLA's own


def _xla_input(y: Array, kernel: Array, geometry: Geometry) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *geometry.input_size, kernel.shape[-2]), y.dtype)
    return jax.linear_transpose(lambda x: xla_convolution(x, kernel, geometry), x)(y)[0]


def _xla_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    kernel = jax.ShapeDtypeStruct((*geometry.kernel_size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: xla_convolution(x, kernel, geometry), kernel)(y)[0]


# The primitives


def _primitive(name: str, shape: Callable, elsewhere: Callable, on_cpu: Callable) -> Primitive:
    primitive = Primitive(name)

    @functools.partial(jax.jit, static_argnames="geometry")
    def alone(a, b, *, geometry):
        return primitive.bind(a, b, geometry=geometry)

    def aval(a, b, *, geometry):
        return a.update(shape=shape(a.shape, b.shape, geometry), weak_type=False)

    def unless_empty(a, b, *, geometry):
        way = on_cpu if len(a) else elsewhere  # of no images none can be taken at a time
        return way(a, b, geometry)

    primitive.def_impl(alone)
    primitive.def_abstract_eval(aval)
    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(unless_empty, multiple_results=False), "cpu")
    return primitive


_apply_p = _primitive(
    "convolution",
    lambda x, kernel, g: (x[0], *g.output_size, kernel[-1]),
    xla_convolution,
    cpu.apply,
)
_input_p = _primitive(
    "convolution_input_gradient",
    lambda y, kernel, g: (y[0], *g.input_size, kernel[-2]),
    _xla_input,
    cpu.input_gradient,
)
_kernel_p = _primitive(
    "convolution_kernel_gradient",
    lambda x, y, g: (*g.kernel_size, x[-1], y[-1]),
    _xla_kernel,
    cpu.kernel_gradient,
)

ad.defbilinear(
    _apply_p,
    lambda y, x, kernel, *, geometry: input_gradient(y, kernel, geometry),
    lambda y, x, kernel, *, geometry: kernel_gradient(x, y, geometry),
)
ad.defbilinear(
    _input_p,
    lambda x, y, kernel, *, geometry: apply(x, kernel, geometry),
    lambda x, y, kernel, *, geometry: kernel_gradient(x, y, geometry),
)
ad.defbilinear(
    _kernel_p,
    lambda kernel, x, y, *, geometry: input_gradient(y, kernel, geometry),
    lambda kernel, x, y, *, geometry: apply(x, kernel, geometry),
)


def _batch_image(primitive: Primitive, args, axes, *, geometry):
    """(image, kernel) -> image: more images are a larger batch; more kernels are a loop."""
    image, kernel = args
    if axes[1] is not None:
        return _batch_loop(primitive, args, axes, geometry=geometry)
    image = jnp.moveaxis(image, axes[0], 0)
    out = primitive.bind(image.reshape(-1, *image.shape[2:]), kernel, geometry=geometry)
    return out.reshape(*image.shape[:2], *out.shape[1:]), 0


def _batch_loop(primitive: Primitive, args, axes, *, geometry):
    size = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)

    def one(i):
        return primitive.bind(
            *(
                a if axis is None else lax.dynamic_index_in_dim(a, i, axis, keepdims=False)
                for a, axis in zip(args, axes, strict=True)
            ),
            geometry=geometry,
        )

    return lax.map(one, jnp.arange(size)), 0


batching.primitive_batchers[_apply_p] = functools.partial(_batch_image, _apply_p)
batching.primitive_batchers[_input_p] = functools.partial(_batch_image, _input_p)
batching.primitive_batchers[_kernel_p] = functools.partial(_batch_loop, _kernel_p)
