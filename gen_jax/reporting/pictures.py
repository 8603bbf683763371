"""Pictures and tables that an experiment adds to its run's page.

They live in ``RUN/pictures/``: ``NAME.png`` files, and ``index.json``, a list of what to show in
the order in which it was first added. Adding a name again replaces it in its place.
"""

import dataclasses
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from gen_jax.files import RunError, png, write_atomically, writing
from gen_jax.reporting import plots

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MAX_SLIDERS = 100
Cell = str | int | float | None
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One table (it has ``columns``), one row of sliders (it has ``labels``), or one picture of the
    page.

    The pictures of slider i are ``slider_names(name, i)``.
    """

    name: str
    title: str
    caption: str
    chart: bool = False  # drawn by plots: dark on white, may be inverted for a dark screen
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    labels: tuple[str, ...] = ()  # of the left and the right picture
    sliders: int = 0

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"a picture's name is letters, digits, '_', '-' and '.', got {self.name!r}"
            )
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name!r}: row {number} has {len(row)} cells, but there are "
                    f"{len(self.columns)} columns"
                )
        if not isinstance(self.sliders, int) or not 0 <= self.sliders <= MAX_SLIDERS:
            raise ValueError(
                f"slider {self.name!r}: there can be 1 to {MAX_SLIDERS} pairs, got {self.sliders}"
            )
        if len(self.labels) != (2 if self.sliders else 0):
            raise ValueError(f"slider {self.name!r}: there must be two labels, got {self.labels}")


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
    figure. Raises ``ValueError`` for another shape or dtype, or a name that is not a file name, and
    ``RunError`` where it cannot be written.
    """
    entry = Entry(name=name, title=title, caption=caption, chart=isinstance(picture, Figure))
    content = plots.to_png(picture) if isinstance(picture, Figure) else png(np.asarray(picture))
    path = pathlib.Path(run_dir) / "pictures" / f"{name}.png"
    _write(path, content)
    _add(run_dir, entry)
    return path


def add_slider(
    run_dir: str | os.PathLike[str],
    name: str,
    before: Sequence[UInt8[np.ndarray, "..."]],
    after: Sequence[UInt8[np.ndarray, "..."]],
    *,
    title: str,
    caption: str,
    labels: tuple[str, str] = ("before", "after"),
) -> None:
    """Saves pairs of pictures that the page shows in a row, each pair in one place, with a handle
    that moves the border between them.

    ``before`` and ``after`` are as many pictures, uint8 ``[H, W]`` or ``[H, W, C]``; those of a
    pair have the same H and W, and one or three channels each. Raises as ``add_picture`` does, and
    ``ValueError`` for pictures that do not match.
    """
    if not len(before) == len(after) > 0:
        raise ValueError(
            f"slider {name!r} needs as many pictures before as after, and one or more, "
            f"got {len(before)} and {len(after)}"
        )
    entry = Entry(name=name, title=title, caption=caption, labels=labels, sliders=len(before))
    contents: dict[str, bytes] = {}
    for i, pair in enumerate(zip(before, after, strict=True)):
        left, right = map(np.asarray, pair)
        if left.shape[:2] != right.shape[:2]:
            raise ValueError(
                f"slider {name!r}: the pictures of pair {i} differ in size: "
                f"{list(left.shape)} and {list(right.shape)}"
            )
        contents |= zip(slider_names(name, i), map(png, (left, right)), strict=True)
    for file, content in contents.items():
        _write(pathlib.Path(run_dir) / "pictures" / f"{file}.png", content)
    _add(run_dir, entry)


def slider_names(name: str, i: int) -> tuple[str, str]:
    """What the two pictures of slider i are called."""
    return f"{name}-{i}-before", f"{name}-{i}-after"


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

    Raises ``ValueError`` for a row that is not as long as ``columns``, and ``RunError`` where the
    list cannot be written.
    """
    if not columns:
        raise ValueError(f"table {name!r} has no columns")
    cells = tuple(tuple(_plain(cell) for cell in row) for row in rows)
    _add(
        run_dir, Entry(name=name, title=title, caption=caption, columns=tuple(columns), rows=cells)
    )


def read_entries(run_dir: str | os.PathLike[str]) -> list[Entry]:
    """Reads what the page shows, in order; a run without pictures gives an empty list.

    Raises ``RunError`` for a damaged list.
    """
    path = pathlib.Path(run_dir) / "pictures" / "index.json"
    if not path.exists():
        return []
    try:
        return [
            Entry(
                **{
                    **entry,
                    "columns": tuple(entry["columns"]),
                    "rows": tuple(map(tuple, entry["rows"])),
                    "labels": tuple(entry.get("labels", ())),  # an earlier version had none
                }
            )
            for entry in json.loads(path.read_text())
        ]
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise RunError(f"pictures/index.json could not be read: {error}") from error


def _add(run_dir: str | os.PathLike[str], entry: Entry) -> None:
    try:
        entries = {old.name: old for old in read_entries(run_dir)}
    except RunError as error:
        _logger.warning(f"in {run_dir}, {error}: a new list is started")
        entries = {}
    entries[entry.name] = entry  # a dict keeps a replaced name in its place
    listed = [dataclasses.asdict(listed) for listed in entries.values()]
    _write(pathlib.Path(run_dir) / "pictures" / "index.json", json.dumps(listed, indent=1))


def _write(path: pathlib.Path, content: str | bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _plain(cell: Any) -> Cell:
    """NumPy and JAX scalars become Python's, which JSON knows."""
    return cell.item() if hasattr(cell, "item") else cell
