"""Files that are written whole or not at all; what goes wrong with one is one line."""

import errno
import io
import json
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8


class RunError(RuntimeError):
    """What stops a run, in one line for the user: the folder, the disk, or the numbers."""


@contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write at ``path`` into a ``RunError``: a full disk, no permission."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {error.filename or path}: {reason}") from error


def write_atomically(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file whole or not at all, even if the machine loses power.

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


def read_json(path: pathlib.Path, what: str = "a JSON object") -> dict[str, Any]:
    """The JSON object in a file; ``what`` names it in a message.

    Raises ``FileNotFoundError`` where there is no such file, and ``RunError`` for one that cannot
    be read, or holds anything else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"no {path}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: not {what}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: not {what}")
    return content


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
