"""A folder of files: pictures, or whatever else has classes and splits by where it lies."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
File = tuple[pathlib.Path, str | None]  # and the name of its class


@dataclasses.dataclass(frozen=True)
class Kind:
    """Which files of a folder are meant, and what they are called: "PNG or JPEG", "picture"."""

    endings: tuple[str, ...]
    format: str
    noun: str


class FileTree:
    """The files of one kind in a folder, sorted by path, with their splits and classes.

    Where the folder holds nothing but subfolders named train, validation (or val) and test, these
    are its splits. Within a split, subfolders are the classes, sorted by name, with all that lies
    below them; a split without subfolders has no labels. Hidden files and other kinds are passed
    over. Raises ``DataError`` where there is no folder, no file, or files both beside and inside
    of subfolders.
    """

    def __init__(self, name: str, path: pathlib.Path, kind: Kind):
        if not path.is_dir():
            raise DataError(f"{name}: there is no folder {path}")
        self.name = name
        self.path = path.resolve()
        self._kind = kind
        entries = _visible(self.path)
        if entries and all(entry.is_dir() and entry.name in SPLITS for entry in entries):
            self._files: dict[str, list[File]] = {}
            for entry in entries:
                self._files.setdefault(SPLITS[entry.name], []).extend(_found(name, entry, kind))
        else:
            self._files = {"train": _found(name, self.path, kind)}
        files = [file for part in self._files.values() for file in part]
        if not files:
            raise DataError(f"{name}: there is no {kind.format} file in {self.path}")
        labels = {label for _, label in files if label is not None}
        self._class_names = tuple(sorted(labels)) or None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def files(self, *splits: str) -> tuple[list[File], tuple[str, ...] | None]:
        """The files of these splits, and the names of their classes where they have any."""
        files = [file for split in splits for file in self._files[split]]
        if not files:
            raise DataError(f"{self.name}: there is no {self._kind.noun} in its {splits[0]} folder")
        labelled = {label is not None for _, label in files}
        if len(labelled) > 1:
            raise DataError(f"{self.name}: only some of {', '.join(splits)} have subfolders")
        return files, self._class_names if labelled == {True} else None

    def fingerprint(
        self, files: Sequence[File], class_names: Sequence[str] | None
    ) -> dict[str, object]:
        """Changes when a file or a class comes, goes, or is written again."""
        lines = [json.dumps(class_names)]
        for path, _ in files:
            name = path.relative_to(self.path)
            try:
                stat = path.stat()
                lines.append(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}")
            except OSError:  # a broken link, say: reading will name it, or skip it
                lines.append(f"{name}\0unreadable")
        text = "\n".join(lines).encode(errors="surrogateescape")
        return {"files": len(files), "sha256": hashlib.sha256(text).hexdigest()}

    def digest(self, files: Sequence[File], class_names: Sequence[str] | None) -> str:
        """Changes when a file or a class comes, goes, or has another size; on any machine."""
        sizes = [
            (path.relative_to(self.path).as_posix(), path.stat().st_size if path.exists() else None)
            for path, _ in files
        ]
        return digest("files", sizes, class_names)


def labels_of(
    files: Sequence[File], class_names: Sequence[str] | None
) -> Int[np.ndarray, " n"] | None:
    """The number of each file's class, int32; None where they have none."""
    if class_names is None:
        return None
    number: dict[str | None, int] = {name: label for label, name in enumerate(class_names)}
    return np.array([number[label] for _, label in files], np.int32)


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _found(name: str, folder: pathlib.Path, kind: Kind) -> list[File]:
    """The files of one split, each with its class."""
    direct: list[File] = []
    classed: list[File] = []
    for entry in _visible(folder):
        if entry.is_dir():
            # Links to folders are not followed below a class: they can form a ring.
            for parent, folders, files in os.walk(entry):
                folders[:] = sorted(f for f in folders if not f.startswith("."))
                paths = (pathlib.Path(parent, file) for file in sorted(files))
                classed += [(path, entry.name) for path in paths if _is_one(path, kind)]
        elif _is_one(entry, kind):
            direct.append((entry, None))
    if direct and classed:
        raise DataError(
            f"{name}: {kind.noun}s lie both beside subfolders ({direct[0][0]}) and inside "
            f"({classed[0][0]}); either all are in subfolders, which are their labels, or none"
        )
    return direct or classed


def _is_one(path: pathlib.Path, kind: Kind) -> bool:
    return path.suffix.lower() in kind.endings and not path.name.startswith(".")
