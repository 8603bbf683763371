"""Pictures and tables that an experiment adds to its run's page.

They live in ``RUN/pictures/``: ``NAME.png`` files, and ``index.json``, a list of what to show in
the order in which it was first added. Adding a name again replaces it in its place.
"""

import dataclasses
import io
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from gen_jax.reporting import plots

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
Cell = str | int | float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture (``columns`` is empty) or one table of the page."""

    name: str
    title: str
    caption: str
    chart: bool = False  # drawn by plots: dark on white, may be inverted for a dark screen
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"a picture's name is letters, digits, '_', '-' and '.', got {self.name!r}"
            )


def add_picture(
    run_dir: str | os.PathLike[str],
    name: str,
    picture: UInt8[np.ndarray, "..."] | Figure,
    *,
    title: str,
    caption: str,
) -> pathlib.Path:
    """Saves a picture of the run and lists it for the page; returns the PNG's path.

    ``picture`` is uint8 ``[H, W]`` or ``[H, W, C]`` with one or three channels, or a matplotlib
    figure. Raises ``ValueError`` for another shape or dtype, or a name that is no file name.
    """
    entry = Entry(name=name, title=title, caption=caption, chart=isinstance(picture, Figure))
    png = plots.to_png(picture) if isinstance(picture, Figure) else _image_png(picture)
    path = pathlib.Path(run_dir) / "pictures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, png)
    _add(run_dir, entry)
    return path


def add_table(
    run_dir: str | os.PathLike[str],
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    title: str,
    caption: str,
) -> None:
    """Lists a table for the page; cells are text, numbers, or None where there is nothing.

    Raises ``ValueError`` for a row that is not as long as ``columns``.
    """
    if not columns:
        raise ValueError(f"table {name!r} has no columns")
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"table {name!r}: row {number} has {len(row)} cells, but there are "
                f"{len(columns)} columns"
            )
    cells = tuple(tuple(_plain(cell) for cell in row) for row in rows)
    _add(
        run_dir, Entry(name=name, title=title, caption=caption, columns=tuple(columns), rows=cells)
    )


def read_entries(run_dir: str | os.PathLike[str]) -> list[Entry]:
    """Reads what the page shows, in order; a run without pictures gives an empty list."""
    path = pathlib.Path(run_dir) / "pictures" / "index.json"
    if not path.exists():
        return []
    return [
        Entry(
            **{
                **entry,
                "columns": tuple(entry["columns"]),
                "rows": tuple(map(tuple, entry["rows"])),
            }
        )
        for entry in json.loads(path.read_text())
    ]


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file at once: a reader sees the old or the new content, never a part."""
    # A name that ends as no reader's glob does, so that a leftover is never taken for a picture.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _add(run_dir: str | os.PathLike[str], entry: Entry) -> None:
    entries = {old.name: old for old in read_entries(run_dir)}
    entries[entry.name] = entry  # a dict keeps a replaced name in its place
    path = pathlib.Path(run_dir) / "pictures" / "index.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [dataclasses.asdict(listed) for listed in entries.values()]
    write_atomically(path, json.dumps(listed, indent=1).encode())


def _image_png(image: Any) -> bytes:
    image = np.asarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3):
        raise ValueError(
            "a picture is uint8 [H, W] or [H, W, C] with 1 or 3 channels, got "
            f"{image.dtype} {list(image.shape)}"
        )
    buffer = io.BytesIO()
    flat = image[..., 0] if image.ndim == 3 and channels == 1 else image
    Image.fromarray(flat).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _plain(cell: Any) -> Cell:
    """NumPy and JAX scalars become Python's, which JSON knows."""
    return cell.item() if hasattr(cell, "item") else cell
