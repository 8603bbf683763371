"""Whether JAX can use the requested devices."""

import jax
from jax.extend import backend

from gen_jax.files import RunError


def check_platform() -> None:
    """Starts JAX's backends, which ``JAX_PLATFORMS`` may name.

    Raises ``RunError``, in one line, where they cannot be used: which was requested, which are
    available, and what to set. A run of several processes joins them first
    (``jax.distributed.initialize``), as that must come before the backends start.
    """
    try:
        jax.devices()
        return
    except (AssertionError, RuntimeError) as error:  # JAX asserts where CUDA finds no GPU
        reason = _reason(error)
    requested = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue] -- JAX adds it
    if not requested:
        raise RunError(f"JAX cannot start: {reason}; JAX_PLATFORMS=cpu computes on the CPU")
    available = _available(requested)
    raise RunError(
        f"JAX_PLATFORMS={requested} cannot be used here ({reason}); available: "
        f"{', '.join(available)}. Set JAX_PLATFORMS={available[0]}, or unset it to let JAX choose"
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or ["no such device was found"]
    return lines[0].partition(" (set JAX_PLATFORMS")[0].rstrip(".")


def _available(requested: str) -> list[str]:
    """The platforms that JAX would find if none were requested."""
    jax.config.update("jax_platforms", "")
    try:
        backend.clear_backends()
        return sorted(backend.backends())
    except (AssertionError, RuntimeError):
        return ["cpu"]
    finally:
        # Who catches the error must not compute on another platform than the requested one.
        jax.config.update("jax_platforms", requested)
        backend.clear_backends()
