"""Scores of several things side by side: as a summary's metrics, back from them, and as a table."""

from collections.abc import Container, Mapping
from typing import Any

Columns = dict[str, float]  # what is measured of one thing, by the measure's name
Table = tuple[list[str], list[tuple[str | float | None, ...]]]  # titles, and each row's cells


def as_metrics(rows: Mapping[str, Columns], prefix: str = "test/") -> dict[str, float]:
    """Rows as a summary's metrics: ``test/ROW/COLUMN``, with hyphens for the spaces of a row's
    name, or ``test/COLUMN`` where the name is empty."""
    return {
        f"{prefix}{row.replace(' ', '-')}{'/' if row else ''}{column}": value
        for row, columns in rows.items()
        for column, value in columns.items()
    }


def as_rows(
    metrics: Mapping[str, Any], measures: Container[str], prefix: str = "test/"
) -> dict[str, Columns]:
    """The rows of these ``measures`` that ``as_metrics`` made metrics of, among any others."""
    found: dict[str, Columns] = {}
    for name, value in metrics.items():
        if name.startswith(prefix):
            row, _, column = name.removeprefix(prefix).rpartition("/")
            if column in measures and "/" not in row:
                found.setdefault(row.replace("-", " "), {})[column] = value
    return found


def tabulated(rows: Mapping[str, Columns], titles: Mapping[str, str]) -> Table:
    """A table of the measures that any row has, in the order of ``titles``."""
    columns = [name for name in titles if any(name in row for row in rows.values())]
    cells = [(name, *(row.get(column) for column in columns)) for name, row in rows.items()]
    return ["", *(titles[name] for name in columns)], cells
