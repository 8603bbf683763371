"""The folder of a benchmark: its rows, written after each one, and what they all share."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks.accelerator.options import Options
from experiments.benchmarks.accelerator.table import table
from experiments.benchmarks.accelerator.tasks import Row, Task
from experiments.running.output import write_json
from gen_jax import training
from gen_jax.files import read_json, write_atomically
from gen_jax.training.environment import device_name

NAME = "benchmark_accelerator"
ENDED = 2  # times that a row may end the process before it counts as failed
SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What all rows of a folder share; a folder in which it differs is refused."""

    device: str
    python: str
    versions: str
    commit: str
    settings: str
    options: Options

    @classmethod
    def of(cls, options: Options, environment: dict[str, Any]) -> "Identity":
        free = {
            field.name: field.default
            for field in dataclasses.fields(options)
            if not field.metadata.get("identity", True)
        }
        settings = ", ".join(f"{name} {getattr(jax.config, name)}" for name in SETTINGS)
        versions = {name: version for name, version in environment["versions"].items() if version}
        return cls(
            device=device_name(),
            python=environment["python"],
            versions=", ".join(f"{name} {version}" for name, version in versions.items()),
            commit=str(environment["commit"]),
            settings=f"{settings}, XLA_FLAGS {os.environ.get('XLA_FLAGS', '')}",
            options=dataclasses.replace(options, **free),
        )


@dataclasses.dataclass
class Ledger:
    """The rows by their tasks' names, and how often each task that has none yet was begun."""

    folder: Path
    environment: dict[str, Any]
    tasks: Sequence[Task]
    notes: Sequence[str]
    rows: dict[str, Row]
    begun: dict[str, int]

    @property
    def missing(self) -> list[str]:
        """Tasks that have no row yet."""
        return [task.name for task in self.tasks if task.name not in self.rows]

    def begin(self, task: Task) -> bool:
        """Notes that a task begins; false where it has ended the process too often."""
        times = self.begun.get(task.name, 0)
        self.begun[task.name] = times + 1
        self.write()
        return times < ENDED

    def add(self, task: Task, row: Row) -> None:
        self.rows[task.name] = {"name": task.name, "part": task.part, **task.about, **row}
        self.begun.pop(task.name, None)
        self.write()

    def write(self) -> None:
        """Writes ``rows.json`` and ``table.md``. Raises ``RunError`` where it cannot."""
        content = {
            "environment": self.environment,
            "notes": self.notes,
            "rows": list(self.rows.values()),
            "missing": self.missing,
            "begun": self.begun,
        }
        write_json(self.folder / "rows.json", content)
        text = table(list(self.rows.values()), self.environment, self.missing, self.notes)
        write_atomically(self.folder / "table.md", text)


@contextmanager
def opened(
    folder: Path, preset: str, options: Options, tasks: Sequence[Task], notes: Sequence[str]
) -> Iterator[Ledger]:
    """The ledger of a folder, with the rows of earlier starts.

    Raises ``RunError``, in one line, where the folder is another device's, of other versions or
    options, in use, or something else, and where it cannot be written.
    """
    environment = training.environment()
    identity = Identity.of(options, environment)
    with training.open_run(folder, experiment=NAME, preset=preset, config=identity):
        try:
            saved = read_json(folder / "rows.json", "the JSON of a benchmark's rows")
        except FileNotFoundError:
            saved = {"rows": [], "begun": {}}
        rows = {row["name"]: row for row in saved["rows"]}
        ledger = Ledger(folder, environment, tasks, notes, rows, saved["begun"])
        ledger.write()
        yield ledger
