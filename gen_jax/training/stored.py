"""Training states on the disk: the one file that knows orbax.

A checkpoint holds every array of a state as nested dicts (a typed key as its data), and a record
with the step, the metrics, and a SHA-256 over all of it. A list of its files, the seal, is written
when they are on the disk.
"""

import hashlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax

from gen_jax.files import RunError, read_json, sync_tree, write_atomically
from gen_jax.training.arrays import Arrays, params_digest

FORMAT = 1
SEAL = "files.json"  # in a checkpoint: the SHA-256 of each of its files
PARTS = "state", "record"  # its folders
Record = dict[str, Any]


class Damaged(Exception):
    """A checkpoint that is not what was saved."""


def holds_checkpoint(path: pathlib.Path) -> bool:
    """Whether any part of a checkpoint is there, even a damaged one."""
    return any((path / part).exists() for part in (*PARTS, SEAL))


def write(
    path: pathlib.Path,
    arrays: Arrays,
    *,
    step: int,
    metrics: Mapping[str, float],
    progress: Mapping[str, float],
) -> None:
    """Writes a checkpoint at ``path``, where nothing is yet, and seals it when it is on disk."""
    record: Record = {"format": FORMAT, "step": step}
    record |= {"metrics": dict(metrics), "progress": dict(progress)}
    record["digest"] = _digest(arrays, record)
    ocp = orbax()
    content = ocp.args.Composite(
        state=ocp.args.PyTreeSave(arrays), record=ocp.args.JsonSave(record)
    )
    with _checkpointer(ocp) as writer:
        writer.save(path.resolve(), args=content)
    sync_tree(path)
    write_atomically(path / SEAL, json.dumps(_file_digests(path), indent=2))


def read(path: pathlib.Path, *, only_record: bool = False) -> tuple[Arrays, Record]:
    """A checkpoint's content, checked. Raises ``Damaged``, or ``RunError`` for a newer format."""
    ocp = orbax()
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
        raise Damaged(reason(error)) from error
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{path} was written by a newer version of gen_jax: update it to read this")
    if not only_record and _digest(arrays, record) != digest:
        raise Damaged("its content is not what was saved")
    return arrays, record


def _check_files(path: pathlib.Path) -> None:
    """Compares a checkpoint's files with their seal, before TensorStore meets a damaged one.

    (It would report that, and then print errors of its threads.) A process killed between the end
    of a save and its seal leaves none; then the content's digest decides alone.
    """
    try:
        sealed = read_json(path / SEAL)
    except FileNotFoundError:
        return
    except RunError as error:
        raise Damaged(f"{SEAL} is not what was saved") from error
    try:
        for name in sorted(sealed):
            if not (path / name).is_file():
                raise Damaged(f"{name} is missing")
            if _sha256(path / name) != sealed[name]:
                raise Damaged(f"{name} is not what was saved")
    except OSError as error:
        raise Damaged(reason(error)) from error


def _file_digests(path: pathlib.Path) -> dict[str, str]:
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith((SEAL, "."))]
    return {file.relative_to(path).as_posix(): _sha256(file) for file in files}


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(arrays: Arrays, record: Record) -> str:
    rest = json.dumps({k: v for k, v in record.items() if k != "digest"}, sort_keys=True)
    return hashlib.sha256((params_digest(arrays) + rest).encode()).hexdigest()


def reason(error: Exception) -> str:
    """One line on an error of orbax or TensorStore, whose messages run over several."""
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def orbax() -> Any:
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
