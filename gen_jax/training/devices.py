"""Which devices JAX has, and whether it can use the requested ones."""

import contextlib
import os
from typing import Any

import jax
from jax.extend import backend

from gen_jax.cores import n_cores
from gen_jax.files import RunError

EXAMPLES = 4  # of a step, on each device at least


def split_cpu(batch_size: int) -> None:
    """Makes each of a CPU's cores a device of its own, for steps of ``batch_size`` examples.

    XLA's CPU backend runs the operations of a program one after another, and divides one among
    cores only where it is large: a step of many small operations keeps all cores busy where each
    has its part of the batch. On two x86 cores a step takes this share of its time on one device:
    Diagonal BiLSTM 0.7, WaveNet 0.75, Row LSTM 0.76, Gated PixelCNN of 32 maps 0.8, PixelCNN++
    0.92, Gated PixelCNN of 128 maps 0.98. Where large operations already fill the cores, it takes
    longer: a convolutional VAE 1.2 times, a DCGAN 1.9 times. WaveNet gained with four examples a
    device and not with two, so a device has at least ``EXAMPLES``.

    Does nothing where several processes share a run, or ``set_cpu_devices`` does nothing.
    """
    if not jax.distributed.is_initialized():
        set_cpu_devices(cores_for(batch_size))


def cores_for(batch_size: int) -> int:
    """How many of a CPU's cores ``split_cpu`` makes devices of."""
    return min(n_cores(), max(1, batch_size // EXAMPLES))


def set_cpu_devices(n: int) -> None:
    """Makes ``n`` devices of the CPU.

    Must come before JAX's backends start. Does nothing afterwards, or where the number is set
    already (``XLA_FLAGS``, ``jax_num_cpu_devices``).
    """
    settings: Any = jax.config
    flags = os.environ.get("XLA_FLAGS", "")
    if settings.jax_num_cpu_devices < 0 and "host_platform_device_count" not in flags:
        with contextlib.suppress(RuntimeError):  # the backends have started
            settings.update("jax_num_cpu_devices", n)


def check_platform() -> None:
    """Starts JAX's backends, which ``JAX_PLATFORMS`` may name.

    Raises ``RunError``, in one line, where they cannot be used: which was requested, which are
    available, and what to set. A run of several processes joins them first
    (``jax.distributed.initialize``), as that must come before the backends start.
    """
    settings: Any = jax.config
    if settings.jax_num_cpu_devices == 0:
        raise RunError("JAX_NUM_CPU_DEVICES=0: the CPU must be 1 device or more")
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
