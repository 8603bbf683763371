"""Checkpoints: the one file that knows orbax.

A checkpoint holds every array of a training state as nested dicts (a typed key as its data), and
a record with the step, the metrics, and a SHA-256 over all of it. It is written in a
background thread while the device runs, and appears under its name whole or not at all; a list of
its files, the seal, is written when they are on the disk. Anything else in the folder (a file
browser's thumbnails, somebody's copy) is ignored. In a run of several processes the first writes,
and all read.
"""

import hashlib
import json
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

from gen_jax.files import RunError, sync, sync_tree, write_atomically, writing
from gen_jax.training.arrays import Arrays, filled, nested, params_digest

FORMAT = 1
SEAL = "files.json"  # in a checkpoint: the SHA-256 of each of its files
PARTS = "state", "record"  # its folders
STEP = re.compile("0|[1-9][0-9]{0,17}")
LEFTOVER = re.compile(r"[0-9]+\.(orbax-checkpoint-tmp.*|deleted)")  # of a killed process
Record = dict[str, Any]
_logger = logging.getLogger(__name__)


class _Damaged(Exception):
    """A checkpoint that is not what was saved."""


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
            self._pool.submit(_orbax)  # imported while the step compiles

    def restore_newest(self, template: Any) -> tuple[Any, Record] | None:
        """The newest good checkpoint as a state like ``template``, and its record; None at first.

        Damaged newer ones are reported and set aside as ``damaged_STEP``.
        """
        step, damaged, found = None, {}, None
        if _is_writer():
            found, damaged = _newest_good(self.folder, _steps(self.folder))
            step = found[1]["step"] if found else None
        step = _agreed(step)
        if step is None:
            return None
        if found is None:
            found, _ = _newest_good(self.folder, [step])
            assert found is not None
        arrays, record = found
        state = filled(template, arrays, f"checkpoint {step} in {self.folder}")
        for bad, line in damaged.items():
            _logger.warning(line)
            with writing(self.folder):
                _set_aside(self.folder / str(bad))
        if _is_writer():
            self._metrics = _saved_metrics(self.folder)
        self.last_step = step
        return state, record

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
            record = {"format": FORMAT, "step": step, "metrics": metrics, "progress": progress}
            record["digest"] = _digest(arrays, record)
            self._clear_the_way(path)
            ocp = _orbax()
            content = ocp.args.Composite(
                state=ocp.args.PyTreeSave(arrays), record=ocp.args.JsonSave(record)
            )
            with _checkpointer(ocp) as writer:
                writer.save(path.resolve(), args=content)
            sync_tree(path)
            write_atomically(path / SEAL, json.dumps(_file_digests(path), indent=2))
            self._metrics[step] = metrics
            self._remove_old(step)
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"cannot save step {step} in {self.folder}: {_reason(error)}") from error
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


def _agreed(step: int | None) -> int | None:
    """The first process's choice, in every process."""
    if jax.process_count() == 1:
        return step
    from jax.experimental import multihost_utils

    chosen = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if step is None else step)))
    return None if chosen < 0 else chosen


def _steps(folder: pathlib.Path) -> list[int]:
    """Steps of the checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if STEP.fullmatch(path.name)]
    return sorted((int(path.name) for path in found if _holds_checkpoint(path)), reverse=True)


def _holds_checkpoint(path: pathlib.Path) -> bool:
    """Whether any part of a checkpoint is there, be it damaged."""
    return any((path / part).exists() for part in (*PARTS, SEAL))


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
            metrics[step] = _read(folder / str(step), only_record=True)[1]["metrics"]
        except _Damaged:
            continue
    return metrics


def _newest_good(
    folder: pathlib.Path, steps: list[int]
) -> tuple[tuple[Arrays, Record] | None, dict[int, str]]:
    """The first of ``steps`` that can be read, and a line on each damaged one before it."""
    damaged: dict[int, str] = {}
    for step in steps:
        try:
            found = _read(folder / str(step))
        except _Damaged as error:
            damaged[step] = f"checkpoint {step} in {folder} is damaged ({error})"
            continue
        after = f": using step {step} instead"
        return found, {bad: line + after for bad, line in damaged.items()}
    if damaged:
        raise RunError("; ".join(damaged.values()) + ": no good checkpoint is left")
    return None, {}


def _read(path: pathlib.Path, *, only_record: bool = False) -> tuple[Arrays, Record]:
    """A checkpoint's content, checked. Raises ``_Damaged``, or ``RunError`` for a newer format."""
    ocp = _orbax()
    wanted: dict[str, Any] = {"record": ocp.args.JsonRestore()}
    if not only_record:
        _check_files(path)
        wanted["state"] = ocp.args.PyTreeRestore()
    try:
        with _checkpointer(ocp) as reader:
            content = reader.restore(path.resolve(), args=ocp.args.Composite(**wanted))
        record = dict(content.record)
        version, digest = record["format"], record["digest"]
        record["metrics"] = dict(record["metrics"])
        arrays = {} if only_record else content.state
    except MemoryError:
        raise
    except Exception as error:
        raise _Damaged(_reason(error)) from error
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{path} was written by a newer version of gen_jax: update it to read this")
    if not only_record and _digest(arrays, record) != digest:
        raise _Damaged("its content is not what was saved")
    return arrays, record


def _check_files(path: pathlib.Path) -> None:
    """Compares a checkpoint's files with their seal, before TensorStore meets a damaged one.

    (It would report that, and then print errors of its threads.) A process killed between the end
    of a save and its seal leaves none; then the content's digest decides alone.
    """
    try:
        sealed = dict(json.loads((path / SEAL).read_bytes()))
        for name in sorted(sealed):
            if not (path / name).is_file():
                raise _Damaged(f"{name} is missing")
            if _sha256(path / name) != sealed[name]:
                raise _Damaged(f"{name} is not what was saved")
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _Damaged(_reason(error)) from error


def _file_digests(path: pathlib.Path) -> dict[str, str]:
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith((SEAL, "."))]
    return {file.relative_to(path).as_posix(): _sha256(file) for file in files}


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(arrays: Arrays, record: Record) -> str:
    rest = json.dumps({k: v for k, v in record.items() if k != "digest"}, sort_keys=True)
    return hashlib.sha256((params_digest(arrays) + rest).encode()).hexdigest()


def _reason(error: Exception) -> str:
    """One line on an error of orbax or TensorStore, whose messages run over several."""
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _orbax() -> Any:
    """orbax, imported when first needed, its log lines dropped: what matters, it raises."""
    import orbax.checkpoint as ocp

    absl = logging.getLogger("absl")
    if _quiet_orbax not in absl.filters:
        absl.addFilter(_quiet_orbax)
    return ocp


def _quiet_orbax(entry: logging.LogRecord) -> bool:
    return "orbax" not in pathlib.Path(entry.pathname).parts


def _checkpointer(ocp: Any) -> Any:
    """Reads and writes for a process that waits for no other one.

    orbax's barriers run on the devices, where they would wait for the other processes' steps.
    """
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    options = ocp.CompositeOptions(multiprocessing_options=alone)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)
