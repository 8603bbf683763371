"""The bare speed of a device: what its matrix products and its memory do, without a network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.benchmarks.timing import Program, alternate

Precision = Any  # of ``jax.lax.dot``: None is the default's


def product_speed(
    seconds: float, dtype: str, side: int, *, chain: int = 1, precision: Precision = None
) -> tuple[float, float]:
    """Operations a second of products of square matrices of noise, ``chain`` of them in a dispatch,
    and the seconds that compiling took."""
    scale = side**-0.5  # so that a product of many stays of order 1
    a, b = (
        (scale * jax.random.normal(jax.random.key(i), (side, side))).astype(dtype) for i in (0, 1)
    )

    def products(a: Any, b: Any) -> Any:
        for _ in range(chain):  # a loop of XLA's would copy each result
            a = jnp.dot(a, b, precision=precision)
        return a

    program = Program.of(products, a, b)
    (median,) = alternate([program.run], seconds)
    return chain * 2.0 * side**3 / median, program.compile_s


def copy_speed(seconds: float, size: int, *, chain: int) -> tuple[float, float]:
    """Bytes a second, read and written, of going through ``size`` bytes of float32, ``chain`` times
    in a dispatch, and the seconds that compiling took."""
    x = jnp.ones((size // 4,), jnp.float32)

    def passes(x: Any) -> Any:  # another value each time: a mere copy XLA would leave out
        return lax.fori_loop(0, chain, lambda _, x: x + 1.0, x)

    program = Program.of(passes, x)
    (median,) = alternate([program.run], seconds)
    return chain * 2.0 * x.nbytes / median, program.compile_s


def product_error(dtype: str, side: int, *, precision: Precision = None) -> float:
    """The relative error of a product of matrices of noise: about 1e-7 in float32, 3e-4 with TF32's
    inputs of 10 bits, 2e-3 with bfloat16's of 7."""
    a, b = (jax.random.normal(jax.random.key(i), (side, side)).astype(dtype) for i in (0, 1))
    product = jax.jit(functools.partial(jnp.dot, precision=precision))(a, b)
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    error = np.asarray(product, np.float64) - exact
    return float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))
