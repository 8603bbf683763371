"""Whether PyTorch on this machine is a peer of what the benchmarks measure."""

from importlib.util import find_spec

import jax


def why_no_peer(dtype: str) -> str | None:
    """Why a PyTorch twin is no peer of what JAX runs here in ``dtype``; None where it is one."""
    if not find_spec("torch"):
        return "PyTorch is not installed"
    if jax.default_backend() != "cpu":
        return f"its twins run on the CPU, JAX on the {jax.default_backend().upper()}"
    if dtype != "float32":
        return f"its twins compute in float32, not in {dtype}"
    return None
