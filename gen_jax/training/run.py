"""The run folder: one folder a run, which says what was run, where, and what came of it.

``config.json`` loads back into an equal config; starting the same command on the same folder goes
on with the run, and another config is refused. In a run of several processes only the first
writes; all of them must see the folder.
"""

import dataclasses
import enum
import fcntl
import hashlib
import json
import logging
import os
import pathlib
import typing
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from gen_jax.files import RunError, read_json, write_atomically, writing
from gen_jax.training.arrays import params_digest
from gen_jax.training.config import Config, decode, encode, flat, without_idle
from gen_jax.training.environment import device_name, environment
from gen_jax.typing import Params

FORMAT = 1
CONFIG, ENVIRONMENT, DATA = "config.json", "environment.json", "data.json"
START = {CONFIG, ENVIRONMENT, DATA}  # what a folder holds before any work
SUMMARY = "summary.json"
CONFIG_KINDS = {"experiment": str, "preset": str, "config": dict}  # what a reader counts on
SUMMARY_KINDS = {
    "experiment": str,
    "preset": str,
    "dataset": str,
    "steps": int,
    "wall_s": int | float,
    "examples_per_s": int | float,
    "metrics": dict,
}
_logger = logging.getLogger(__name__)


class DataStatus(enum.Enum):
    """Whether the data is that of earlier starts; unknown where those kept no record of it."""

    SAME = 0
    CHANGED = 1
    UNKNOWN = 2


@dataclasses.dataclass(eq=False)
class Run:
    """An open run folder; closing it (or the end of the process) lets others open it."""

    dir: pathlib.Path
    experiment: str
    preset: str
    _config: str  # the content of config.json, as of this start
    _data: str | None  # that of data.json
    data: DataStatus = DataStatus.SAME
    _lock: typing.IO[str] | None = None

    def lock(self) -> None:
        """Raises ``RunError`` where a live process holds the folder."""
        self._lock = _lock(self.dir)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return jax.process_index() == 0

    def write_config(self) -> None:
        """Writes ``config.json`` and ``data.json`` as of this start, for those who begin to work.

        ``fit`` and ``write_summary`` do so: a start that finds nothing left to do changes nothing.
        """
        if self.writes:
            write_atomically(self.dir / CONFIG, self._config)
            if self._data is not None:
                write_atomically(self.dir / DATA, self._data)

    def write_environment(self) -> None:
        """Writes ``environment.json``: versions, devices, commit and command of this process."""
        if self.writes:
            write_atomically(self.dir / ENVIRONMENT, _json(environment()))

    def write_summary(
        self,
        *,
        dataset: str,
        params: Params,
        steps: int,
        wall_s: float,
        examples_per_s: float,
        metrics: Mapping[str, float | int | str],
    ) -> dict[str, Any]:
        """Writes ``summary.json`` and returns its content.

        ``n_params`` and ``params_digest`` are taken from ``params``. Metrics are named as in
        ``test/nll`` (nats per image), with ``binarization`` next to a likelihood.
        """
        summary = {
            "experiment": self.experiment,
            "preset": self.preset,
            "dataset": dataset,
            "steps": int(steps),
            "n_params": sum(int(np.size(x)) for x in jax.tree.leaves(params)),
            "params_digest": params_digest(params),
            "device": device_name(),
            "jax_version": jax.__version__,
            "wall_s": float(wall_s),
            "examples_per_s": float(examples_per_s),
            "metrics": {k: v if isinstance(v, str | int) else float(v) for k, v in metrics.items()},
        }
        self.write_config()
        if self.writes:
            write_atomically(self.dir / SUMMARY, _json(summary))
        return summary

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.writes and _names(self.dir) <= START:
            # A mistake found before any work: the corrected command must find no other run here.
            for name in START:
                (self.dir / name).unlink(missing_ok=True)
        self.close()


def open_run(
    run_dir: str | os.PathLike,
    *,
    experiment: str,
    preset: str,
    config: Any,
    data: Mapping[str, Any] | None = None,
    accept_changed_data: bool = False,
) -> Run:
    """Opens a run folder, or makes it.

    ``config`` is a frozen dataclass. Its fields with ``metadata={"identity": False}`` (how long to
    run, what to print) may differ from one start to the next; those of the newest that had work
    to do are kept. ``data`` describes what the run is trained on, in JSON's types; it is kept in
    ``data.json``, and must be the same at each start unless ``accept_changed_data``.

    Raises ``RunError`` where the folder holds another run (naming each difference), holds
    something else, is in use by a live process, or cannot be written, and where the data changed.
    """
    folder = pathlib.Path(run_dir)
    content = {"format": FORMAT, "experiment": experiment, "preset": preset}
    content["config"] = encode(config)
    if decode(type(config), content["config"]) != without_idle(config):
        raise TypeError(f"{type(config).__name__} does not come back equal from JSON: {config}")
    run = Run(folder, experiment, preset, _json(content), None if data is None else _json(data))

    def opened() -> Run:
        return _open(run, content, config, data, accept_changed_data)

    if jax.process_count() == 1:
        return opened()
    from jax.experimental import multihost_utils

    _require_same_data(run)
    # All processes go on or none: the others must not wait for a first one that gave up.
    error = None
    if run.writes:
        try:
            opened()
        except RunError as refused:
            error = refused
    if multihost_utils.broadcast_one_to_all(np.int32(error is not None)):
        raise error or RunError(f"the first process could not open {folder}")
    run.data = DataStatus(int(multihost_utils.broadcast_one_to_all(np.int32(run.data.value))))
    return run


def _require_same_data(run: Run) -> None:
    """Raises ``RunError`` in every process where they see different data."""
    from jax.experimental import multihost_utils

    mine = np.frombuffer(hashlib.sha256((run._data or "").encode()).digest(), np.uint8)
    everyones = np.asarray(multihost_utils.process_allgather(mine))
    if (everyones != everyones[0]).any():
        raise RunError(f"the processes of {run.dir} see different data: each needs the same files")


def _open(
    run: Run,
    content: dict[str, Any],
    config: Any,
    data: Mapping[str, Any] | None,
    accept_changed_data: bool,
) -> Run:
    folder = run.dir
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    run.lock()
    try:
        if (folder / CONFIG).exists():
            _refuse_another(folder, content, config)
            if data is not None:
                run.data, changes = _compared(folder, data)
                if changes and not accept_changed_data:
                    raise RunError(
                        f"the data of {folder} has changed (old -> new): {changes}; held-out "
                        "examples may now be in the training set: use a new folder, or resume "
                        "with --accept-changed-data"
                    )
        elif others := _names(folder):
            raise RunError(f"{folder} is not a run folder and not empty (it holds {min(others)})")
        else:
            run.write_config()
        if not (folder / ENVIRONMENT).exists():
            run.write_environment()
    except BaseException:
        run.close()
        raise
    return run


def _names(folder: pathlib.Path) -> set[str]:
    """What a folder holds, but for hidden files: the lock, and half-written ones."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def load_config(cls: type[Config], run_dir: str | os.PathLike) -> Config:
    """Reads a run's config back as a ``cls``, equal to the one it was opened with.

    Raises ``RunError`` where there is none, where a newer version wrote it, and where its fields
    are not those of ``cls``, naming them.
    """
    saved = _read_config(pathlib.Path(run_dir))
    try:
        return decode(cls, saved["config"])
    except ValueError as error:
        raise RunError(f"{run_dir}/config.json does not fit {cls.__name__}: {error}") from error


def load_data(run_dir: str | os.PathLike) -> dict[str, Any] | None:
    """What a run's data was when it was started, as ``open_run`` was given it.

    None where an earlier version made the run. Raises ``RunError`` for a damaged record.
    """
    try:
        return read_json(pathlib.Path(run_dir) / DATA, "the JSON of a run's data")
    except FileNotFoundError:
        return None


def experiment_of(run_dir: str | os.PathLike) -> tuple[str, str]:
    """The names of the experiment and the preset that a run folder was opened with."""
    saved = _read_config(pathlib.Path(run_dir))
    return saved["experiment"], saved["preset"]


def read_summary(run_dir: str | os.PathLike) -> dict[str, Any] | None:
    """The content of a run's ``summary.json``; None where the run has none, or a damaged one.

    A damaged one is reported by a logged warning: the run measures again, and writes it anew.
    """
    path = pathlib.Path(run_dir) / SUMMARY
    try:
        summary = read_json(path, "the JSON of a run's summary")
        if _has(summary, SUMMARY_KINDS):
            return summary
        raise RunError(f"{path} is damaged: not the JSON of a run's summary")
    except FileNotFoundError:
        return None
    except RunError as error:
        _logger.warning(f"{error}: it is ignored")
    return None


def _lock(folder: pathlib.Path) -> typing.IO[str]:
    """Holds ``.lock`` until closed; the kernel releases it when the process dies.

    Where files cannot be locked, a warning is logged.
    """
    with writing(folder):
        lock = open(folder / ".lock", "a+")  # noqa: SIM115 -- held for the run
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise RunError(f"{folder} is in use by a running process (pid {holder})") from None
    except OSError as error:  # some network file systems
        _logger.warning(
            f"{folder} cannot be locked ({error.strerror}): start one process at a time on it"
        )
    with writing(folder):
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
    return lock


def _refuse_another(folder: pathlib.Path, content: dict[str, Any], config: Any) -> None:
    saved = _read_config(folder)
    free = {f.name for f in dataclasses.fields(config) if not f.metadata.get("identity", True)}

    def identity(run: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        own = flat({k: v for k, v in fields.items() if k not in free})
        return {"experiment": run["experiment"], "preset": run["preset"], **own}

    old = identity(saved, _as_of_now(type(config), saved["config"]))
    if changes := _changes(old, identity(content, content["config"])):
        raise RunError(
            f"{folder} holds another run (old -> new): {changes}"
            "; use another run folder for another config"
        )


def _as_of_now(cls: type[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Saved fields as this version saves them; unchanged where they are another class's."""
    try:
        return encode(decode(cls, fields))
    except ValueError:
        return fields


def _compared(folder: pathlib.Path, data: Mapping[str, Any]) -> tuple[DataStatus, str]:
    """Whether the data is that of the run's earlier starts, and how it differs."""
    saved = load_data(folder)
    if saved is None:
        return DataStatus.UNKNOWN, ""
    changes = _changes(flat(saved), flat(data))
    return (DataStatus.CHANGED if changes else DataStatus.SAME), changes


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two flat records, field by field; empty where nothing does. Fields that
    only one of them has are named only where nothing else differs: most follow from what does."""
    missing = "(no such field)"
    changed = [name for name in old if name in new and old[name] != new[name]]
    names = changed or [name for name in {**old, **new} if (name in old) != (name in new)]
    return "; ".join(
        f"{name}: {_shown(old.get(name, missing))} -> {_shown(new.get(name, missing))}"
        for name in names
    )


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        saved = read_json(path, "the JSON of a run's config")
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not a run folder: no {path.name} to read") from error
    version = saved.get("format")
    if version == FORMAT and _has(saved, CONFIG_KINDS):
        return saved
    if isinstance(version, int) and version > FORMAT:
        raise RunError(
            f"{path} was written by a newer version of gen_jax (format {version}, this one reads "
            f"{FORMAT}): update gen_jax to use this run"
        )
    raise RunError(f"{path} is damaged: not the JSON of a run's config")


def _has(record: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    return all(isinstance(record.get(name), kind) for name, kind in kinds.items())


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 64 else f"{text[:60]} ..."
