"""What data the classical methods take."""

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Float

from gen_jax.typing import Array


def data_matrix(x: Float[Array, "n d"], *, least: int = 1) -> Float[Array, "n d"]:
    """Returns ``x`` as an array, if it is floats ``[n, d]``, all finite, with n >= ``least``.

    Raises ``ValueError`` otherwise. Under a transformation (jit, vmap) values are not known, and
    only shape and dtype are checked.
    """
    x = jnp.asarray(x)
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be floats [n, d], got {x.dtype} {list(x.shape)}")
    if x.shape[0] < least or x.shape[1] < 1:
        raise ValueError(f"x must have at least {least} rows and a column, got {list(x.shape)}")
    if not isinstance(x, Tracer) and not bool(jnp.isfinite(x).all()):
        bad = int((~jnp.isfinite(x)).any(axis=1).sum())
        raise ValueError(f"x must be finite, got {bad} of {len(x)} rows with NaN or infinity")
    return x
