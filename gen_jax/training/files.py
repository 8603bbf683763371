"""Writing files so that a crash leaves none half-written, and a failure says what it was."""

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager


class RunError(RuntimeError):
    """What stops a run, in one line for the user: the folder, the disk, or the numbers."""


@contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write at ``path`` into a ``RunError``: a full disk, a missing right."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {error.filename or path}: {reason}") from error


def write_atomically(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file whole or not at all. Raises ``RunError`` where it cannot."""
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
