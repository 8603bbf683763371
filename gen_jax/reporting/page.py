"""The run's page: one self-contained HTML file made from what the run folder holds.

Nothing here trusts the folder: text is escaped, images are re-read before they are embedded, and
a file that is missing, torn or of another shape becomes a note on the page, not an exception. So
an unfinished run, or one whose process was killed, still has its page.
"""

import base64
import dataclasses
import importlib.resources
import io
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image

from gen_jax.files import RunError, read_json, write_atomically
from gen_jax.reporting import plots
from gen_jax.reporting.meanings import describe
from gen_jax.reporting.metrics import Curve, format_value, group_curves, read_rows
from gen_jax.reporting.pictures import Entry, read_entries, slider_names

MAX_FRAMES = 12
HEADLINES = 12  # metrics that stand on the page; a reader opens the others
TARGET_WIDTH = 640  # CSS pixels that a small picture is enlarged towards, by whole factors
SLIDER_WIDTH = 320  # the same for each of several sliders in a row
SUMMARY_FACTS = {
    "preset": "preset",
    "dataset": "data set",
    "steps": "training steps",
    "n_params": "parameters",
    "device": "device",
    "wall_s": "wall clock [s]",
    "examples_per_s": "training speed [examples/s]",
}
WHOLE_RUN = "examples_per_s", "wall_s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """An image as the template shows it: a data URI and the size it is drawn at."""

    source: str
    width: int
    height: int
    pixelated: bool = False
    chart: bool = False
    title: str = ""
    caption: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table as the template shows it; ``numeric`` columns are set flush right."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    caption: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sliders:
    """Pairs of pictures as the template shows them, each with a handle between its two."""

    pairs: tuple[tuple[Figure, Figure], ...]
    labels: tuple[str, ...]
    title: str = ""
    caption: str = ""


def write_report(run_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Writes ``report.html`` into a run folder from the files there; returns its path.

    The page is one file that loads nothing. Works at any moment of a run's life. Raises
    ``FileNotFoundError`` if there is no such folder, ``RunError`` where it cannot be written.
    """
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"no run folder at {run_dir}")
    template = (
        importlib.resources.files("gen_jax.reporting")
        .joinpath("page.html.jinja")
        .read_text("utf-8")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template).render(_context(run_dir))
    path = run_dir / "report.html"
    write_atomically(path, page)
    return path


def _context(run_dir: pathlib.Path) -> dict[str, Any]:
    notes: list[str] = []
    config = _read_object(run_dir / "config.json", notes)
    environment = _read_object(run_dir / "environment.json", notes)
    summary = _read_object(run_dir / "summary.json", notes)
    rows = _rows(run_dir / "metrics.jsonl", notes)
    command = environment.pop("command", None)  # as a shell takes it
    settings = config.get("config")  # next to the names of experiment and preset
    groups = group_curves(rows)
    frames, n_samples = _frames(run_dir / "samples", notes)
    return {
        "title": summary.get("experiment") or config.get("experiment") or run_dir.parent.name,
        "run_name": run_dir.name,
        "finished": bool(summary),
        "last_step": max((int(row["step"]) for row in rows), default=None),
        "results": _results(summary, rows),
        "headlines": HEADLINES,
        "facts": _facts(summary),
        "exhibits": _exhibits(run_dir, notes),
        "frames": frames,
        "n_samples": n_samples,
        "curves": [_chart(group) for group in groups if group.section == "curves"],
        "speed": _speed(summary, rows),
        "speed_curves": [_chart(group) for group in groups if group.section == "speed"],
        "config": _flatten(settings if isinstance(settings, dict) else config),
        "environment": _flatten(environment),
        "command": command,
        "digest": summary.get("params_digest"),
        "notes": notes,
    }


def _results(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The headline table: a finished run's metrics, else the last value of each one logged."""
    metrics = summary.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        metrics = {}
        for row in rows:
            metrics |= {name: value for name, value in row.items() if "/" in name}
        metrics = {
            name: value
            for name, value in metrics.items()
            if not name.startswith(("speed/", "train/"))
        }
    table = []
    for name, value in metrics.items():
        meaning = describe(name, metrics)
        table.append(
            {
                "label": meaning.label,
                "name": name,
                "value": format_value(value),
                "unit": meaning.unit,
                "explanation": meaning.explanation,
            }
        )
    return table


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (label, format_value(summary[name]))
        for name, label in SUMMARY_FACTS.items()
        if summary.get(name) is not None
    ]


def _speed(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The run's own figures first, then the last of each ``speed/`` metric that was logged."""
    found: dict[str, Any] = {}
    for row in rows:
        found |= {name: value for name, value in row.items() if name.startswith("speed/")}
    found |= {name: summary[name] for name in WHOLE_RUN if name in summary}
    labels = {
        "examples_per_s": "training, whole run [examples/s]",
        "wall_s": "wall clock, all of it [s]",
        "speed/examples_per_s": "training, at the end [examples/s]",
        "speed/compile_s": "compiling [s]",
    }
    return [
        (labels.get(name, describe(name, {}).label), format_value(found[name]))
        for name in sorted(found, key=lambda name: (name.startswith("speed/"), name))
    ]


def _exhibits(run_dir: pathlib.Path, notes: list[str]) -> list[Figure | Table | Sliders]:
    try:
        entries = read_entries(run_dir)
    except RunError as error:
        notes.append(str(error))
        return []
    exhibits: list[Figure | Table | Sliders] = []
    for entry in entries:
        if entry.columns:
            exhibits.append(_table(entry))
            continue
        if entry.sliders:
            exhibits.append(_sliders(run_dir, entry, notes))
            continue
        path = run_dir / "pictures" / f"{entry.name}.png"
        figure = _figure(path, notes, title=entry.title, caption=entry.caption, chart=entry.chart)
        if figure:
            exhibits.append(figure)
    return exhibits


def _table(entry: Entry) -> Table:
    numeric = tuple(
        all(cell is None or isinstance(cell, int | float) for cell in column)
        for column in zip(*entry.rows, strict=True)
    )
    return Table(
        columns=entry.columns,
        numeric=numeric or (False,) * len(entry.columns),  # a table without rows
        rows=tuple(tuple(format_value(cell) for cell in row) for row in entry.rows),
        title=entry.title,
        caption=entry.caption,
    )


def _sliders(run_dir: pathlib.Path, entry: Entry, notes: list[str]) -> Sliders:
    width = TARGET_WIDTH if entry.sliders == 1 else SLIDER_WIDTH
    pairs = []
    for i in range(entry.sliders):
        left, right = (
            _figure(run_dir / "pictures" / f"{name}.png", notes, width=width)
            for name in slider_names(entry.name, i)
        )
        if left and right:
            pairs.append((left, right))
    return Sliders(
        pairs=tuple(pairs), labels=entry.labels, title=entry.title, caption=entry.caption
    )


def _frames(folder: pathlib.Path, notes: list[str]) -> tuple[list[Figure], int]:
    """At most ``MAX_FRAMES`` samples over training, the early ones denser, and their full number.

    A model changes most at first: places along the run grow like a power.
    """
    paths = sorted(folder.glob("step_*.png"))
    last = len(paths) - 1
    chosen = {round(last * (i / (MAX_FRAMES - 1)) ** 1.5) for i in range(MAX_FRAMES)}
    kept = paths if len(paths) <= MAX_FRAMES else [paths[i] for i in sorted(chosen)]
    frames = []
    for path in kept:
        step = path.stem.removeprefix("step_")
        caption = f"step {format_value(int(step))}" if step.isdecimal() else step
        frames.append(_figure(path, notes, caption=caption))
    return [frame for frame in frames if frame], len(paths)


def _figure(
    path: pathlib.Path,
    notes: list[str],
    *,
    title: str = "",
    caption: str = "",
    chart: bool = False,
    width: int = TARGET_WIDTH,
) -> Figure | None:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()
            size = image.size
    except (OSError, SyntaxError, ValueError) as error:  # what pillow raises for a bad file
        notes.append(f"{path.parent.name}/{path.name} could not be shown: {error}")
        return None
    if chart:
        shown = (size[0] // 2, size[1] // 2)
    else:
        factor = max(1, width // size[0])
        shown = (size[0] * factor, size[1] * factor)
    return Figure(
        source=_data_uri(content),
        width=shown[0],
        height=shown[1],
        pixelated=not chart and shown[0] > size[0],
        chart=chart,
        title=title,
        caption=caption,
    )


def _chart(group: Curve) -> Figure:
    figure = plots.curves(
        group.series, x_label=group.x_label, y_label=group.y_label, log_y=group.log_y
    )
    content = plots.to_png(figure)
    width, height = Image.open(io.BytesIO(content)).size
    return Figure(
        source=_data_uri(content),
        width=width // 2,
        height=height // 2,
        chart=True,
        title=group.title,
        caption=group.caption,
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _rows(path: pathlib.Path, notes: list[str]) -> list[dict[str, Any]]:
    try:
        return read_rows(path)
    except OSError as error:
        notes.append(f"{path.name} could not be read: {error.strerror}")
        return []


def _read_object(path: pathlib.Path, notes: list[str]) -> dict[str, Any]:
    """A JSON object, or an empty one where the file is missing; a damaged file is noted."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return {}
    except RunError as error:
        # The page is shown elsewhere: it names no folder of this machine.
        notes.append(str(error).replace(str(path), path.name))
        return {}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, float) and math.isfinite(value):
            rows.append((f"{prefix}{name}", repr(value)))  # a setting is shown as it was given
        elif isinstance(value, str | int | None):
            rows.append((f"{prefix}{name}", "–" if value is None else str(value)))
        else:
            rows.append((f"{prefix}{name}", json.dumps(value)))
    return rows
