"""What is measured: tasks, each for a row of its own, with one program to compile."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmarks.accelerator.options import Part

Row = dict[str, Any]
Rows = Mapping[str, Row]  # by the task's name


@dataclasses.dataclass(frozen=True)
class Task:
    """One row: ``measure(seconds)`` repeats for so long, and gives its numbers.

    ``about`` holds the columns that name it. ``likely_s(rows)`` is the time that it takes at least,
    judging by the rows so far.
    """

    part: Part
    about: Mapping[str, str | int]
    measure: Callable[[float], Mapping[str, Any]]
    likely_s: Callable[[Rows], float] = lambda rows: 0.0

    @property
    def name(self) -> str:
        return " ".join(map(str, self.about.values()))
