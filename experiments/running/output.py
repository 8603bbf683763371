"""Files that a command writes on request: checked before the work, written after it."""

import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from experiments.running.options import UsageError
from gen_jax.files import write_atomically, writing


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
    except IsADirectoryError:
        raise UsageError(
            f"cannot write {out}: it is a folder, and the name of a file is needed"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None


def write_json(out: Path, content: Any) -> None:
    """Writes numbers as a JSON file. Raises ``RunError`` where it cannot."""
    write_atomically(out, json.dumps(content, indent=2) + "\n")


def write_gif(
    out: Path, frames: Sequence[UInt8[np.ndarray, "height width channels"]], *, milliseconds: int
) -> None:
    """Writes pictures of one or three channels as an endless film, each shown for so long.

    Makes the folder of ``out``. Raises ``RunError`` where it cannot.
    """
    from PIL import Image  # late: only films need it

    film = [Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x) for x in frames]
    gif = io.BytesIO()
    film[0].save(gif, "gif", save_all=True, append_images=film[1:], duration=milliseconds, loop=0)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, gif.getvalue())
