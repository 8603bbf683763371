"""Writing files so that a crash leaves none half-written, and a failure says what it was."""

import errno
import io
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import UInt8


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
    """Writes a file whole or not at all, also if the machine loses power.

    The content is on the disk before the file gets its name, and the name when this returns.
    Raises ``RunError`` where it cannot.
    """
    # Hidden, so that a leftover is taken for nothing; named by process, so that two do not mix.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        try:
            with open(partial, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync(path.parent)


def sync(path: pathlib.Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder: their server does as it sees fit.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: pathlib.Path) -> None:
    """Waits until everything in a folder, and its own name, is on the disk."""
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            sync(path)
    sync(folder)
    sync(folder.parent)


def png(image: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Encodes uint8 [H, W] or [H, W, C] with one or three channels.

    Raises ``ValueError`` for another type or shape.
    """
    from PIL import Image  # late: training seldom needs it

    channels = image.shape[2:] or (1,)
    if image.dtype != np.uint8 or image.ndim < 2 or channels not in ((1,), (3,)):
        raise ValueError(
            "a picture is uint8 [H, W] or [H, W, C] with 1 or 3 channels, got "
            f"{image.dtype} {list(image.shape)}"
        )
    flat = image[..., 0] if image.shape[2:] == (1,) else image
    file = io.BytesIO()
    Image.fromarray(flat).save(file, "png", optimize=True)
    return file.getvalue()
