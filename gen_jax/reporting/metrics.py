"""What a run measured: its ``metrics.jsonl`` as rows and charts, and numbers for a reader."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gen_jax.reporting.meanings import MEANINGS, Meaning, split_name

Row = dict[str, Any]

THIN_SPACE, MINUS = "\u2009", "\u2212"
LIKELIHOODS = "nll", "elbo", "iwae"  # plotted against time too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One chart of the page: ``series`` maps a name to its x and y values."""

    section: str  # "curves" or "speed"
    title: str
    caption: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_label: str
    y_label: str
    log_y: bool


def read_rows(path: pathlib.Path) -> list[Row]:
    """Reads ``metrics.jsonl``, with ``time`` continued across restarts.

    Lines that are not a JSON object with a ``step`` are skipped: a killed process may leave half a
    line. A resumed run repeats the steps after its checkpoint; of one step and metric the last
    value counts. A missing file gives no rows.
    """
    if not path.exists():
        return []
    merged: dict[int, Row] = {}
    offset = last = 0.0
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line, parse_int=float)  # all that is too large is infinity
            step, time = int(row["step"]), float(row.get("time", math.nan))
        except (ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        if time < last:  # each process counts from its own start
            offset += last
        last = last if math.isnan(time) else time
        merged.setdefault(step, {}).update(row | {"step": step, "time": offset + time})
    return [merged[step] for step in sorted(merged)]


def group_curves(rows: Sequence[Row]) -> list[Curve]:
    """Gathers logged numbers into charts: one a metric, the splits as its lines.

    Likelihoods come first, and are also drawn against time; then what was validated.
    """
    names = {name: None for row in rows for name in row if name not in ("step", "time")}
    groups: dict[str, dict[str, tuple[list[Row], list[float]]]] = {}
    for name in names:
        split, base = split_name(name)
        having = [row for row in rows if isinstance(row.get(name), int | float)]
        values = [float(row[name]) for row in having]
        if len(set(values)) > 1:  # a constant, such as the time to compile, is not a curve
            section = "speed" if split == "speed" else "curves"
            groups.setdefault(f"{section}/{base}", {})[split or base] = (having, values)
    charts = []
    for key, splits in groups.items():
        section, _, base = key.partition("/")
        meaning = MEANINGS.get(base) or Meaning(base.replace("_", " "))
        axes = [("step", "step", "training step")]
        if section == "curves" and base in LIKELIHOODS:
            axes.append(("time", "time", "training time [s]"))
        for column, word, x_label in axes:
            series = {
                split: ([row[column] for row in having], values)
                for split, (having, values) in splits.items()
            }
            short = meaning.short or meaning.label
            only = f" ({next(iter(series))})" if len(series) == 1 and section == "curves" else ""
            charts.append(
                Curve(
                    section=section,
                    title=f"{meaning.label}{only} by {word}",
                    caption=meaning.explanation if column == "step" else "",
                    series=series,
                    x_label=x_label,
                    y_label=f"{short} [{meaning.unit}]" if meaning.unit else short,
                    log_y=_wants_log(series),
                )
            )
    first = [MEANINGS[base].label for base in LIKELIHOODS]
    return sorted(
        charts,
        key=lambda chart: (
            not chart.title.startswith(tuple(first)),
            "validation" not in chart.series,
        ),
    )


def format_value(value: Any) -> str:
    """A value for a reader: thousands separated, two or three decimals, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1e3 and math.isfinite(value)):
        text = f"{round(value):,}".replace(",", THIN_SPACE)
    elif not math.isfinite(value) or (0 < abs(value) < 0.01):
        text = f"{value:.3g}"
    else:
        text = f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
    return text.replace("-", MINUS)


def _wants_log(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> bool:
    """Whether a linear axis would flatten all but the first points: positive, a wide range."""
    values = [y for _, ys in series.values() for y in ys if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 20
