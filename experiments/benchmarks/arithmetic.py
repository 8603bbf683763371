"""How much arithmetic a function does, with which its speed is compared."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def product_flops(function: Callable[..., Any], *args: Any) -> float:
    """Operations of the matrix products and convolutions of a function of such arrays, two a
    multiplication, whatever way they are computed.

    Read off what JAX traces: a scan counts as often as it runs, a loop whose end is not known
    counts once, and of branches the largest counts.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    return 2.0 * _multiplications(jax.make_jaxpr(function)(*shapes).jaxpr)


def _multiplications(jaxpr: Any) -> int:
    return sum(_of_equation(eqn) for eqn in jaxpr.eqns)


def _of_equation(eqn: Any) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, out = eqn.invars[0].aval, eqn.outvars[0].aval
        return out.size * math.prod(left.shape[axis] for axis in contracted)
    if name.startswith("convolution"):  # the library's own, and its transposes
        return _of_convolution(name, params["geometry"], *(v.aval.shape for v in eqn.invars))
    if name == "conv_general_dilated":
        kernel, out = eqn.invars[1].aval, eqn.outvars[0].aval
        *_, c_out = (kernel.shape[axis] for axis in params["dimension_numbers"].rhs_spec[:1])
        zeros = math.prod(params["lhs_dilation"])  # between the pixels of the input, one in so many
        return out.size * kernel.size // (c_out * zeros)
    inner = [_multiplications(jaxpr) for jaxpr in _inner(params)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * params.get("length", 1) if name == "scan" else sum(inner)


def _of_convolution(name: str, geometry: Any, a: tuple[int, ...], b: tuple[int, ...]) -> int:
    of_kernel = name.endswith("kernel_gradient")
    channels = a[-1] * b[-1] if of_kernel else math.prod(b[-2:])
    batch = math.prod(a[: len(a) - geometry.rank + 1])
    return batch * math.prod((*geometry.output_size, *geometry.kernel_size)) * channels


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The programs within an equation: of loops, branches and functions called."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part
