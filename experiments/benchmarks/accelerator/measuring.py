"""Measuring tasks one after another, until all are done or the time is over."""

import gc
import time

import jax

from experiments.benchmarks.accelerator.ledger import Ledger
from experiments.benchmarks.accelerator.table import line
from experiments.benchmarks.accelerator.tasks import Row, Task
from experiments.running.terminal import say
from gen_jax import training

REASON = 200  # letters


def measure_all(ledger: Ledger, *, end: float, seconds: float) -> None:
    """Adds a row for each task that has none.

    None begins after ``end``, in seconds of ``time.monotonic``, or where it is likely to end later;
    the last may end later all the same.
    """
    for task in ledger.tasks:
        left = end - time.monotonic()
        if left <= 0:
            break
        if task.name in ledger.rows or task.likely_s(ledger.rows) > left:
            continue
        if ledger.begin(task):
            row = measured(task, min(seconds, left))
        else:
            row = {"error": "it ended the process more than once"}
        ledger.add(task, row)
        say(line(ledger.rows[task.name], [*ledger.rows.values()]))


def measured(task: Task, seconds: float) -> Row:
    """A task's numbers, or in one line the reason why there are none."""
    start = time.monotonic()
    try:
        row = dict(task.measure(seconds))
    except training.Interrupted:
        raise
    except Exception as error:  # whatever it is, the other rows do not depend on it
        row = {"error": reason(error)}
    if "error" in row:  # its memory is needed
        jax.clear_caches()
        gc.collect()
    return {**row, "row_s": time.monotonic() - start}


def reason(error: Exception) -> str:
    """The first line of an error."""
    first = next(filter(None, map(str.strip, str(error).splitlines())), "")
    return f"{type(error).__name__}: {first}"[:REASON]
