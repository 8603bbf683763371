"""Checkpoints: the one file that knows orbax.

A checkpoint holds every array of a training state as nested dicts (a typed key as its data), and
a record with the step, the metrics, and a SHA-256 over all of it. It is written beside the
running device by a thread, and appears under its name whole or not at all. In a run of several
processes the first writes, and all read.
"""

import dataclasses
import hashlib
import json
import logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
import numpy as np

from gen_jax.files import RunError, write_atomically, writing
from gen_jax.training.arrays import Arrays, filled, nested, params_digest

FORMAT = 1
SEAL = "files.json"  # in a checkpoint: the SHA-256 of each of its files
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
    """The ``checkpoints/`` of a run that trains: saves beside the device, keeps what is worth it.

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
        self._keep = keep
        self._policy = _KeepBest(best, best_mode, {})
        self._manager: Any = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None
        self.last_step: int | None = None  # of the newest checkpoint that is on the disk
        if _is_writer():
            with writing(folder):
                folder.mkdir(exist_ok=True)
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
                aside = self.folder / f"damaged_{bad}"
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(bad)).rename(aside)
        if _is_writer():
            self._policy.metrics.update(_saved_metrics(self.folder))
        self.last_step = step
        return state, record

    def save(
        self, step: int, state: Any, metrics: Mapping[str, float], progress: Mapping[str, float]
    ) -> None:
        """Starts to save a state that nobody will donate; waits for the save before it, if need be.

        ``progress`` is kept in the record for the process that goes on from here.
        """
        self.wait()
        if self._policy.name is not None and metrics and self._policy.name not in metrics:
            names = ", ".join(metrics)
            raise ValueError(f"no metric {self._policy.name!r} to keep the best by: {names}")
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
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _save(
        self, step: int, state: Any, metrics: dict[str, float], progress: dict[str, float]
    ) -> None:
        try:
            arrays = nested(state)
            record = {"format": FORMAT, "step": step, "metrics": metrics, "progress": progress}
            record["digest"] = _digest(arrays, record)
            ocp = _orbax()
            if self._manager is None:
                self._manager = self._open_manager(ocp)
            self._policy.metrics[step] = metrics
            saved = ocp.args.Composite(
                state=ocp.args.PyTreeSave(arrays), record=ocp.args.JsonSave(record)
            )
            self._manager.save(step, args=saved, force=True)
            seal = json.dumps(_file_digests(self.folder / str(step)), indent=2)
            write_atomically(self.folder / str(step) / SEAL, seal)
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"cannot save step {step} in {self.folder}: {_reason(error)}") from error
        self.last_step = step

    def _open_manager(self, ocp: Any) -> Any:
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            create=False,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,  # it runs in a thread of ours, errors and all
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(self._keep), self._policy]
            ),
            multiprocessing_options=_alone(ocp),
        )
        return ocp.CheckpointManager(self.folder.resolve(), options=options)


@dataclasses.dataclass
class _KeepBest:
    """An orbax preservation policy: the one checkpoint with the best value of a metric."""

    name: str | None
    mode: str
    metrics: dict[int, dict[str, float]]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        if self.name is None:
            return [False] * len(checkpoints)
        steps = [c.step for c in checkpoints]
        values = {s: self.metrics.get(s, {}).get(self.name, math.nan) for s in steps}
        values = {s: value for s, value in values.items() if math.isfinite(value)}
        pick = min if self.mode == "min" else max
        best = pick(values, key=values.__getitem__) if values else None
        return [s == best for s in steps]


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
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), reverse=True)


def _saved_metrics(folder: pathlib.Path) -> dict[int, dict[str, float]]:
    metrics = {}
    for step in _steps(folder):
        try:
            metrics[step] = dict(_read(folder / str(step), only_record=True)[1]["metrics"])
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
        after = f": going on from that of step {step}"
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
        with ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(), multiprocessing_options=_alone(ocp)
        ) as reader:
            content = reader.restore(path.resolve(), args=ocp.args.Composite(**wanted))
        record = dict(content.record)
        version, digest = record["format"], record["digest"]
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

    (It would report that, and go on to print errors of its threads.) A process killed between the
    end of a save and its seal leaves none; then the content's digest decides alone.
    """
    seal = path / SEAL
    try:
        if not seal.exists():
            return
        sealed, found = dict(json.loads(seal.read_bytes())), _file_digests(path)
    except (OSError, ValueError, TypeError) as error:
        raise _Damaged(_reason(error)) from error
    for name in sorted(sealed.keys() | found.keys()):
        if sealed.get(name) != found.get(name):
            what = "is missing" if name not in found else "is not what was saved"
            raise _Damaged(f"{name} {what}")


def _file_digests(path: pathlib.Path) -> dict[str, str]:
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith((SEAL, "."))]
    digests = {}
    for file in files:
        with open(file, "rb") as content:
            name = file.relative_to(path).as_posix()
            digests[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


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


def _alone(ocp: Any) -> Any:
    """Options for a process that waits for no other one: orbax's barriers run on the devices."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
