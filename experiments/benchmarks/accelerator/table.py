"""The rows as a Markdown table that names the device, and as lines for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]
Cell = Callable[[Row, Rows], Any]
Columns = Mapping[str, str | Cell]  # of a title: a key of the row, or a function of it and all

TITLES = {
    "bare": "Bare speed",
    "headline": "Sampling: Gated PixelCNN 7×32",
    "steps": "Training steps",
    "samplers": "Sampling: the other networks",
    "twins": "PyTorch twins, float32",
    "paper": "Papers' presets, cut short",
}


def scaled(key: str, factor: float) -> Cell:
    """A number of the row in another unit."""
    return lambda row, rows: row[key] * factor if row.get(key) is not None else None


def found(rows: Rows, **wanted: Any) -> Row:
    """The first row with these values that has numbers; an empty one where there is none."""
    fits = (row for row in rows if "error" not in row and row.items() >= wanted.items())
    return next(fits, {})


def against(key: str, *shared: str, inverse: bool = False, **other: Any) -> Cell:
    """A row's number over that of another row, with the ``shared`` values and others."""

    def cell(row: Row, rows: Rows) -> float | None:
        beside = found(rows, **{name: row.get(name) for name in shared}, **other).get(key)
        if not row.get(key) or not beside:
            return None
        return beside / row[key] if inverse else row[key] / beside

    return cell


def share_of_bare(row: Row, rows: Rows) -> str | None:
    """A step's operations a second, as a share of a product's in its dtype by default."""
    bare = found(rows, measure="product", dtype=row["dtype"], precision="default")
    both = row.get("flops_per_s"), bare.get("flops_per_s")
    return f"{both[0] / both[1]:.1%}" if both[0] and both[1] else None


def by_time(row: Row, rows: Rows) -> str | None:
    """A run's scores, each after its seconds of training."""
    del rows
    if "curve" not in row:
        return None
    return ", ".join(f"{seconds:.3g} s: {score:.4g}" for seconds, score in row["curve"])


SAMPLING: Columns = {
    "network": "model",
    "method": "method",
    "batch": "batch",
    "dtype": "dtype",
    "examples/s": "images_per_s",
    "ms a batch": scaled("seconds", 1e3),
    "x one pass": against("seconds", "model", "batch", "dtype", method="forward"),
    "x naive": against("seconds", "model", "batch", "dtype", method="naive", inverse=True),
    "kernels a pixel": "kernels_per_pixel",
    "passes": "passes",
    "compile s": "compile_s",
}
SPEED: Columns = {"batch": "batch", "examples/s": "examples_per_s", "ms a step": "step_ms"}
COLUMNS: Mapping[str, Columns] = {
    "bare": {
        "what": "measure",
        "dtype": "dtype",
        "asked precision": "precision",
        "precision found": "found",
        "relative error": "relative_error",
        "TFLOP/s": scaled("flops_per_s", 1e-12),
        "GB/s": scaled("bytes_per_s", 1e-9),
        "compile s": "compile_s",
    },
    "headline": SAMPLING,
    "steps": {
        "model": "model",
        "dtype": "dtype",
        **SPEED,
        "GFLOP a step": scaled("flops", 1e-9),
        "TFLOP/s": scaled("flops_per_s", 1e-12),
        "of a product's": share_of_bare,
        "compile s": "compile_s",
    },
    "samplers": SAMPLING,
    "twins": {
        "model": "model",
        "twin": "twin",
        "device": "device",
        **SPEED,
        "ours is faster by": against(
            "examples_per_s", "model", part="steps", dtype="float32", inverse=True
        ),
        "compile s": "compile_s",
    },
    "paper": {
        "experiment": "experiment",
        "preset": "preset",
        "data": "dataset",
        "score": "score",
        "steps": "steps",
        "examples/s": "examples_per_s",
        "validation score by time": by_time,
        "compile s": "compile_s",
    },
}


def table(rows: Rows, environment: Row, missing: Sequence[str], notes: Sequence[str]) -> str:
    """All rows as Markdown, by parts; then what there was no time for."""
    versions = environment["versions"]
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    parts = [
        f"# {environment['device']}",
        f"Python {environment['python']}, {known}; commit {environment['commit']}.  \n"
        f"`{environment['command']}`",
    ]
    for part, title in TITLES.items():
        mine = [row for row in rows if row["part"] == part]
        if mine:
            parts.append(f"## {title}\n\n{part_table(part, mine, rows)}")
    parts += notes
    if missing:
        parts.append(f"## No time for\n\n{len(missing)} rows: {'; '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def part_table(part: str, mine: Rows, rows: Rows) -> str:
    """A part's table; its last column says why a row has no numbers."""
    columns = COLUMNS[part]
    titles = [*columns, "note"]
    lines = [titles, ["---"] * len(titles)]
    lines += [[*map(shown, cells(row, columns, rows)), row.get("error", "")] for row in mine]
    return "\n".join(f"| {' | '.join(line).strip()} |" for line in map(escaped, lines))


def cells(row: Row, columns: Columns, rows: Rows) -> list[Any]:
    """A row's values in the order of the columns; None for what it lacks."""
    return [
        row.get(column) if isinstance(column, str) else column(row, rows)
        for column in columns.values()
    ]


def escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def shown(value: Any) -> str:
    """A cell: numbers with three digits or all before the point."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def line(row: Row, rows: Rows) -> str:
    """A row for the terminal, beside the others."""
    columns = COLUMNS[row["part"]]
    pairs = zip(columns, cells(row, columns, rows), strict=True)
    numbers = [f"{title} {shown(value)}" for title, value in pairs if isinstance(value, float)]
    return f"{row['name']}: {row.get('error') or ', '.join(numbers)}"
