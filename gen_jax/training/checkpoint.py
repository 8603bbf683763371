"""The checkpoints of a run: which are kept, and from which one it resumes.

A checkpoint (``stored``) is written in a background thread while the device runs, and appears under
its name whole or not at all. Anything else in the folder (a file browser's thumbnails, somebody's
copy) is ignored. In a run of several processes the first writes, and all read.
"""

import logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
import numpy as np

from gen_jax.files import RunError, sync, writing
from gen_jax.training import stored
from gen_jax.training.arrays import Arrays, filled, nested
from gen_jax.training.stored import Record

STEP = re.compile("0|[1-9][0-9]{0,17}")
LEFTOVER = re.compile(r"[0-9]+\.(orbax-checkpoint-tmp.*|deleted)")  # of a killed process
NONE, FAILED = -1, -2  # in the place of a step, where processes agree on one
_logger = logging.getLogger(__name__)


def restore(run_dir: str | os.PathLike, template: Any = None, *, step: int | None = None) -> Any:
    """Reads a run's newest good checkpoint, or that of ``step``.

    Into a state shaped like ``template`` (a training state of the same model, or its shapes by
    ``jax.eval_shape``), bit for bit; without a template as nested dicts of NumPy arrays. A damaged
    checkpoint is reported by a logged warning and the one before it taken. Raises ``RunError``
    where there is no good one, or where it is another model's (naming the difference).
    """
    folder = pathlib.Path(run_dir) / "checkpoints"
    steps = _steps(folder)
    if step is not None and step not in steps:
        known = ", ".join(map(str, steps)) or "none"
        raise RunError(f"no checkpoint of step {step} in {folder} (there are: {known})")
    found, damaged = _newest_good(folder, steps if step is None else [step])
    for line in damaged.values():
        _logger.warning(line)
    if found is None:
        raise RunError(f"no checkpoint in {folder}")
    arrays, record = found
    where = f"checkpoint {record['step']} in {folder}"
    return arrays if template is None else filled(template, arrays, where)


def saved_metrics(run_dir: str | os.PathLike) -> dict[int, dict[str, float]]:
    """The steps whose checkpoints a run holds, each with the metrics it was saved with.

    A checkpoint whose record cannot be read is left out.
    """
    return _saved_metrics(pathlib.Path(run_dir) / "checkpoints")


class Checkpoints:
    """The ``checkpoints/`` of a run that trains: saves in the background, keeps the best.

    Kept are the last ``keep`` and the one whose metric ``best`` is lowest (``best_mode="min"``) or
    highest. Each method raises ``RunError``, in one line, where the folder cannot be written;
    what goes wrong in the thread is raised by the next call.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        keep: int = 3,
        best: str | None = None,
        best_mode: Literal["min", "max"] = "min",
    ):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.folder = folder
        self._keep, self._best, self._best_mode = keep, best, best_mode
        self._metrics: dict[int, dict[str, float]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None
        self.last_step: int | None = None  # of the newest checkpoint that is on the disk
        if _is_writer():
            with writing(folder):
                folder.mkdir(exist_ok=True)
                sync(folder.parent)
            self._pool.submit(stored.orbax)  # imported while the step compiles

    def restore_newest(self, template: Any) -> tuple[Any, Record] | None:
        """The newest good checkpoint as a state like ``template``, and its record; None at first.

        Damaged newer ones are reported and set aside as ``damaged_STEP``.
        """
        found, error = None, None
        if _is_writer():
            try:
                found = self._sound()
            except RunError as unusable:
                error = unusable
        step = _agreed(found[1]["step"] if found else None, failed=error is not None)
        if step == FAILED:
            raise error or RunError(f"the first process could not read {self.folder}")
        if step is None:
            return None
        if found is None:
            found, _ = _newest_good(self.folder, [step])
            assert found is not None
        arrays, record = found
        state = filled(template, arrays, f"checkpoint {step} in {self.folder}")
        self.last_step = step
        return state, record

    def _sound(self) -> tuple[Arrays, Record] | None:
        """The newest good checkpoint, with damaged newer ones set aside."""
        found, damaged = _newest_good(self.folder, _steps(self.folder))
        for bad, line in damaged.items():
            _logger.warning(line)
            with writing(self.folder):
                _set_aside(self.folder / str(bad))
        self._metrics = _saved_metrics(self.folder)
        return found

    def save(
        self, step: int, state: Any, metrics: Mapping[str, float], progress: Mapping[str, float]
    ) -> None:
        """Starts to save a state that nobody will donate; waits for the save before it, if need be.

        ``progress`` is kept in the record for the process that resumes from here.
        """
        self.wait()
        if self._best is not None and metrics and self._best not in metrics:
            names = ", ".join(metrics)
            raise ValueError(f"no metric {self._best!r} to keep the best by: {names}")
        if _is_writer():
            self._saving = self._pool.submit(self._save, step, state, dict(metrics), dict(progress))

    def wait(self) -> None:
        """Returns when the save under way is on the disk."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def close(self) -> None:
        """Ends the thread; a failure of a save that nobody waited for is lost."""
        self._pool.shutdown()

    def _save(
        self, step: int, state: Any, metrics: dict[str, float], progress: dict[str, float]
    ) -> None:
        path = self.folder / str(step)
        try:
            arrays = nested(state)
            self._clear_the_way(path)
            stored.write(path, arrays, step=step, metrics=metrics, progress=progress)
            self._metrics[step] = metrics
            self._remove_old(step)
        except RunError:
            raise
        except Exception as error:
            why = stored.reason(error)
            raise RunError(f"cannot save step {step} in {self.folder}: {why}") from error
        self.last_step = step

    def _clear_the_way(self, path: pathlib.Path) -> None:
        """Removes what killed processes left, and sets aside what has a checkpoint's name."""
        for entry in self.folder.iterdir():
            if LEFTOVER.fullmatch(entry.name):
                _remove(entry)
        if path.exists():
            _set_aside(path)

    def _remove_old(self, newest: int) -> None:
        """Removes all checkpoints up to ``newest`` but the last and the best."""
        steps = [step for step in _steps(self.folder) if step <= newest]
        kept = {*steps[: self._keep], self._best_of(steps)}
        for step in steps:
            if step not in kept:
                # Under its own name, a half-removed one would pass for a damaged checkpoint.
                doomed = self.folder / f"{step}.deleted"
                (self.folder / str(step)).rename(doomed)
                _remove(doomed)

    def _best_of(self, steps: list[int]) -> int | None:
        if self._best is None:
            return None
        values = {step: self._metrics.get(step, {}).get(self._best, math.nan) for step in steps}
        values = {step: value for step, value in values.items() if math.isfinite(value)}
        pick = min if self._best_mode == "min" else max
        return pick(values, key=values.__getitem__) if values else None


def _is_writer() -> bool:
    return jax.process_index() == 0


def _agreed(step: int | None, *, failed: bool) -> int | None:
    """The first process's choice, or that it ``FAILED``, in every process."""
    choice = FAILED if failed else NONE if step is None else step
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        choice = int(multihost_utils.broadcast_one_to_all(np.int32(choice)))
    return None if choice == NONE else choice


def _steps(folder: pathlib.Path) -> list[int]:
    """Steps of the checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if STEP.fullmatch(path.name)]
    return sorted((int(path.name) for path in found if stored.holds_checkpoint(path)), reverse=True)


def _set_aside(path: pathlib.Path) -> None:
    aside = path.with_name(f"damaged_{path.name}")
    _remove(aside)
    path.rename(aside)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _saved_metrics(folder: pathlib.Path) -> dict[int, dict[str, float]]:
    metrics = {}
    for step in _steps(folder):
        try:
            metrics[step] = stored.read(folder / str(step), only_record=True)[1]["metrics"]
        except stored.Damaged:
            continue
    return metrics


def _newest_good(
    folder: pathlib.Path, steps: list[int]
) -> tuple[tuple[Arrays, Record] | None, dict[int, str]]:
    """The first of ``steps`` that can be read, and a line on each damaged one before it."""
    damaged: dict[int, str] = {}
    for step in steps:
        try:
            found = stored.read(folder / str(step))
        except stored.Damaged as error:
            damaged[step] = f"checkpoint {step} in {folder} is damaged ({error})"
            continue
        after = f": using step {step} instead"
        return found, {bad: line + after for bad, line in damaged.items()}
    if damaged:
        raise RunError("; ".join(damaged.values()) + ": no good checkpoint is left")
    return None, {}
