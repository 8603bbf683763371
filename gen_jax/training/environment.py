"""What a result depends on besides its config: versions, devices, the commit, the command."""

import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import jax

from gen_jax.cores import n_cores


def device_name() -> str:
    """What this run computes on: ``"cpu (2 cores)"``, ``"NVIDIA H200"``, ``"8 x TPU v5 lite"``.

    A CPU's devices share its cores: ``"cpu (2 cores, 2 devices)"``.
    """
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    if jax.default_backend() == "cpu":
        cores = f"{n_cores()} cores"
        return f"cpu ({cores})" if count == 1 else f"cpu ({cores}, {count} devices)"
    return kind if count == 1 else f"{count} x {kind}"


def environment() -> dict[str, Any]:
    """What a result depends on besides its config."""
    versions = {}
    for name in ("gen_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None  # used from a checkout
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "device": device_name(),
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "commit": _commit(),
        "command": shlex.join(sys.orig_argv),
    }


def _commit() -> str | None:
    """The commit of this code with ``+`` for changes on top, None outside a git checkout."""
    code = pathlib.Path(__file__).parents[2]
    if not (code / ".git").exists():
        return None  # installed: a repository around it is someone else's
    git = ["git", "-C", str(code)]
    try:
        head, changes = (
            subprocess.run(git + args, capture_output=True, text=True, timeout=10, check=True)
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout else "")
