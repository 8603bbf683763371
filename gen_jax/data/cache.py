"""Arrays made once from a source, kept as memory-mapped files and noticed when they are stale.

An entry is a folder of .npy files with a ``cache.json``: the fingerprint of what they were made
from and the size of each file. It is written under another name and renamed when complete, so an
entry is whole or absent; one with another fingerprint, or with a file missing or cut short, counts
as absent.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from gen_jax.data.errors import DataError

FORMAT = 2  # of the entries; part of every fingerprint
FOLDER = "decoded-by-gen_jax"
MANIFEST = "cache.json"


def user_folder() -> pathlib.Path:
    """The user's own folder for this library's data.

    It is ``$GEN_JAX_CACHE`` if that is set, else ``$XDG_CACHE_HOME/gen_jax`` (default
    ``~/.cache/gen_jax``).
    """
    chosen = os.environ.get("GEN_JAX_CACHE")
    if chosen:
        return pathlib.Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(home).expanduser() / "gen_jax"


@dataclasses.dataclass(frozen=True)
class Entry:
    """Arrays as they lie on disk, and what else was noted with them."""

    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where one kind of array of one source is kept; ``name`` is for people who browse there.

    ``identity`` (which split, decoded how) distinguishes the entries of one source, at ``place``;
    ``fingerprint`` shows whether an entry still matches the source. Entries lie under
    ``$GEN_JAX_CACHE`` where that is set, else in a folder ``beside`` the source, or where that is
    not writable under ``user_folder``.
    """

    name: str
    place: pathlib.Path
    identity: dict[str, Any]
    fingerprint: dict[str, Any]
    beside: pathlib.Path | None = None

    def read(self) -> Entry | None:
        """Returns the entry if there is a whole one made from this very source."""
        for folder in self._folders():
            entry = self._read(folder / self._key)
            if entry is not None:
                return entry
        return None

    def read_or_write(self, fill: Callable[[pathlib.Path], dict[str, Any]]) -> Entry:
        """Returns the entry; if there is none, ``fill`` makes its files and returns its notes.

        Raises ``DataError`` where they cannot be written.
        """
        folders = self._folders()
        folder = next((place for place in folders if _writable(place)), folders[-1])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f".{self._key}.lock") as alone:
                entry = self.read()  # another process may have made it meanwhile
                if entry is None:
                    self._write(folder, fill, alone)
                    entry = self._read(folder / self._key)
        except OSError as error:
            raise DataError(
                f"cannot store decoded data of {self.place} in {folder}: {error.strerror}; "
                "set GEN_JAX_CACHE to a writable folder with enough space"
            ) from error
        if entry is None:
            raise DataError(f"what was written to {folder / self._key} cannot be read back")
        return entry

    @property
    def _key(self) -> str:
        return _named(self.name, _canonical(self.identity))

    @property
    def _stamp(self) -> dict[str, Any]:
        stamp = {"format": FORMAT, "identity": self.identity, "source": self.fingerprint}
        return json.loads(_canonical(stamp))

    def _folders(self) -> list[pathlib.Path]:
        # Not part of an entry: a source that is moved takes what is next to it along.
        own = _named(str(self.place), str(self.place))
        if self.beside is None or os.environ.get("GEN_JAX_CACHE"):
            return [user_folder() / own]
        return [self.beside / FOLDER, user_folder() / own]

    def _read(self, path: pathlib.Path) -> Entry | None:
        try:
            manifest = json.loads((path / MANIFEST).read_text())
            if manifest["stamp"] != self._stamp:
                return None
            arrays = {}
            for file, size in manifest["files"].items():
                if pathlib.Path(file).name != file or (path / file).stat().st_size != size:
                    return None
                # Not np.load, which reads archives and pickles as well.
                arrays[file.removesuffix(".npy")] = open_memmap(path / file, mode="r")
            return Entry(arrays, manifest["notes"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError):
            return None  # absent, or not ours: the caller makes it anew

    def _write(
        self, folder: pathlib.Path, fill: Callable[[pathlib.Path], dict[str, Any]], alone: bool
    ) -> None:
        if alone:  # then what is there was left by a process that was killed
            for abandoned in folder.glob(f".{self._key}.partial-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
        # Not tempfile.mkdtemp: its folders are closed to other users, a cache next to a set is not.
        partial = folder / f".{self._key}.partial-{socket.gethostname()}-{os.getpid()}"
        partial.mkdir()
        try:
            notes = fill(partial)
            files = {path.name: path.stat().st_size for path in sorted(partial.glob("*.npy"))}
            manifest = {"stamp": self._stamp, "files": files, "notes": notes}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
            for path in partial.iterdir():
                _flush(path)
            place = folder / self._key
            if self._read(place) is not None:  # without a lock, another may have been faster
                return
            shutil.rmtree(place, ignore_errors=True)
            try:
                partial.rename(place)
            except OSError:
                if self._read(place) is None:
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _named(readable: str, content: str) -> str:
    """A file name for ``content``, readable for people too."""
    digest = hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:16]
    return f"{re.sub('[^A-Za-z0-9]+', '-', readable)[-60:].strip('-')}-{digest}"


def _writable(folder: pathlib.Path) -> bool:
    """Whether files can be made in the folder, or the folder itself.

    Respects mode bits even for root.
    """
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _flush(path: pathlib.Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[bool]:
    """Keeps other processes from making the same entry; False where files cannot be locked.

    Without a lock several may make it at once, and one of them puts it in place.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError:  # some network file systems
            alone = False
        yield alone
