"""Compiling what runs once."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer

Result = TypeVar("Result")


def compile_once(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compiles a function that runs once, such as one that draws a state before its first step.

    A draw for each of many arrays takes XLA's CPU backend far longer to compile than to run, and
    with few optimizations a fifth of that: 1.7 s instead of 9.2 s of a core's time for the networks
    of a small DCGAN, which came out the same to the bit. Other devices compile as always.
    """

    def run(*args: Any, **options: Any) -> Result:
        # JAX refuses options within a trace, as of ``jax.eval_shape``: there constants are traced.
        fast = jax.default_backend() == "cpu" and not isinstance(jnp.zeros(()), Tracer)
        how = {"xla_backend_optimization_level": 1} if fast else None
        return jax.jit(function, compiler_options=how)(*args, **options)

    return run
