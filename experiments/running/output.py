"""Files that a command is asked to write: checked before the work, written after it."""

from collections.abc import Collection
from pathlib import Path

from experiments.running.options import UsageError
from gen_jax.files import RunError, write_atomically


def prepare_output(out: Path | None, endings: Collection[str] = ()) -> None:
    """Makes the folder of ``out``, and proves that the file can be written, before hours go by.

    ``endings`` are those that the file may have (default: any). Raises ``UsageError`` where it
    cannot be; None passes.
    """
    if out is None:
        return
    if endings and out.suffix.lower() not in endings:
        raise UsageError(f"cannot write {out}: its name must end in {' or '.join(endings)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        is_new = not out.exists()
        with out.open("a"):
            pass
        if is_new:
            out.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None


def write_output(out: Path, content: str | bytes) -> None:
    """Writes the file whole. Raises ``UsageError`` where it cannot: the disk is full, say."""
    try:
        write_atomically(out, content)
    except RunError as error:
        raise UsageError(str(error)) from None
