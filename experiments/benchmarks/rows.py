"""What the benchmarks share: whether PyTorch on this machine is a peer, and where rows go."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from experiments.running.config import UsageError


def why_no_peer(dtype: str) -> str | None:
    """Why a PyTorch twin is no peer of what JAX runs here in ``dtype``; None where it is one."""
    if not find_spec("torch"):
        return "PyTorch is not installed"
    if jax.default_backend() != "cpu":
        return f"its twins run on the CPU, JAX on the {jax.default_backend().upper()}"
    if dtype != "float32":
        return f"its twins compute in float32, not in {dtype}"
    return None


def require_writable(out: Path | None) -> None:
    """Makes the folder of ``out``, and proves that the file can be written, before hours go by.

    Raises ``UsageError`` where it cannot.
    """
    if out is None:
        return
    try:
        if not out.parent.exists():
            out.parent.mkdir(parents=True)
        is_new = not out.exists()
        with out.open("a"):
            pass
        if is_new:
            out.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None


def write_rows(result: dict[str, Any], out: Path) -> None:
    """Writes what was measured as JSON."""
    write_file((json.dumps(result, indent=2) + "\n").encode(), out)


def write_file(content: bytes, out: Path) -> None:
    """Raises ``UsageError`` where it cannot be written, all the same: the disk is full, say."""
    try:
        out.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
