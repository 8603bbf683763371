"""A folder of files: pictures, or whatever else has classes and splits by where it lies."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from gen_jax.data import splits
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError

JUNK = ("__MACOSX", "@eaDir")  # left by archives and network drives
_NEARLY = re.compile(
    f"({splits.SPELLING})[-_ ]?"
    "([0-9]+|set|split|data|files|images|imgs|pictures|photos|audio|sounds)",
    re.IGNORECASE,
)
File = tuple[pathlib.Path, str | None]  # and the name of its class


@dataclasses.dataclass(frozen=True)
class Kind:
    """Which files of a folder are meant, and what they are called: "PNG or JPEG", "picture"."""

    endings: tuple[str, ...]
    format: str
    noun: str


class FileTree:
    """The files of one kind in a folder, sorted by path, with their splits and classes.

    Subfolders by the usual names of splits (``train``, ``Test``, ``val``: see ``splits``) are its
    splits; files next to them are ignored. Within a split, or in a folder without splits,
    subfolders are the classes, sorted by name, with all that lies below them; without subfolders
    there are no labels. Also ignored are hidden files, other kinds of files, and folders that hold
    none of this kind.

    ``folders`` has the folder of each split, relative to ``path``; a caller that knows them gives
    them.

    Raises ``DataError`` where there is no folder or no file, where files are both next to and
    inside the class folders, and for layouts that would let test files into training: splits next
    to classes, inside classes, or of two domains (``trainA``, ``trainB``).
    """

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        kind: Kind,
        folders: Mapping[str, str] | None = None,
    ):
        if not path.is_dir():
            raise DataError(f"{name}: there is no folder {path}")
        self.name = name
        self.path = path.resolve()
        self.ignored: tuple[str, ...] = ()
        self._kind = kind
        own = _split_folders(name, self.path, kind) if folders is None else folders
        if own:
            used = {pathlib.PurePath(folder).parts[0] for folder in own.values()}
            names = (entry.name for entry in visible(self.path))
            self.ignored = tuple(entry for entry in names if entry not in used)
        self.folders = own or {"train": "."}
        self._files = {
            split: _found(name, self.path / folder, kind) for split, folder in self.folders.items()
        }
        files = [file for part in self._files.values() for file in part]
        if not files:
            raise DataError(f"{name}: there is no {kind.format} file in {self.path}")
        labels = {label for _, label in files if label is not None}
        self._class_names = tuple(sorted(labels)) or None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def files(self, *names: str) -> tuple[list[File], tuple[str, ...] | None]:
        """The files of these splits, and the names of their classes where they have any."""
        files = [file for split in names for file in self._files[split]]
        if not files:
            raise DataError(f"{self.name}: there is no {self._kind.noun} in its {names[0]} folder")
        labelled = {label is not None for _, label in files}
        if len(labelled) > 1:
            raise DataError(f"{self.name}: only some of {', '.join(names)} have subfolders")
        return files, self._class_names if labelled == {True} else None

    def classes(self, split: str) -> list[str | None]:
        """The class of each file of a split, in order; None where there are no class folders."""
        return [label for _, label in self._files[split]]

    def by_name(self, split: str) -> dict[str, pathlib.Path]:
        """The files of a split, in order, by their path within its folder without the ending.

        Raises ``DataError`` where two have one name.
        """
        folder = self.path / self.folders[split]
        named: dict[str, pathlib.Path] = {}
        for path, _ in self._files[split]:
            key = path.relative_to(folder).with_suffix("").as_posix()
            if (other := named.setdefault(key, path)) != path:
                raise DataError(
                    f"{self.name}: {other} and {path} have the same name but for the ending; "
                    "remove one of them"
                )
        return named

    def stats(self, files: Sequence[File]) -> list[tuple[str, int | None, int | None]]:
        """Of each file its path in the folder, its bytes, and the nanosecond it was written at."""
        stats = []
        for path, _ in files:
            name = path.relative_to(self.path).as_posix()
            try:
                stat = path.stat()
                stats.append((name, stat.st_size, stat.st_mtime_ns))
            except OSError:  # a broken link, say: reading will name it, or skip it
                stats.append((name, None, None))
        return stats


def files_below(folder: pathlib.Path, kind: Kind) -> Iterator[pathlib.Path]:
    """The files of a kind at any depth, sorted folder by folder."""
    # Links to folders are not followed: they can form a ring.
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (pathlib.Path(parent, file) for file in sorted(files) if _is_one(file, kind))


def digest_of(
    stats: Sequence[tuple[str, int | None, int | None]], class_names: Sequence[str] | None
) -> str:
    """Changes when a file or a class comes, goes, or has another size; on any machine."""
    return digest("files", [(name, size) for name, size, _ in stats], class_names)


def labels_of(
    files: Sequence[File], class_names: Sequence[str] | None
) -> Int[np.ndarray, " n"] | None:
    """The number of each file's class, int32; None where they have none."""
    if class_names is None:
        return None
    number: dict[str | None, int] = {name: label for label, name in enumerate(class_names)}
    return np.array([number[label] for _, label in files], np.int32)


def visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a folder holds, sorted, without hidden files and what archives leave."""
    return sorted(path for path in folder.iterdir() if not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def _split_folders(name: str, path: pathlib.Path, kind: Kind) -> dict[str, str]:
    """The folder of each split, by the split's usual name; none where there are no splits."""
    entries = visible(path)
    for entry in entries:
        if entry.is_symlink() and not entry.exists() and _is_split(entry.name):
            raise DataError(f"{name}: {entry} is a link to nothing")
    folders = [entry.name for entry in entries if entry.is_dir()]
    own = [folder for folder in folders if splits.usual(folder) in splits.SPELLINGS]
    others = [
        folder
        for folder in folders
        if folder not in own and next(files_below(path / folder, kind), None)
    ]
    domains = [folder for folder in others if splits.side_of(folder)]
    if domains:
        raise DataError(
            f"{name} holds {', '.join(domains)}: this is a translation set; A and B are domains, "
            f"not classes; use folder:{path / domains[0]} for one of them, or of pictures "
            f"domains:{path} or pairs:{path} for both"
        )
    nearly = [folder for folder in others if _NEARLY.fullmatch(folder)]
    if nearly:
        raise DataError(
            f"{name} holds {', '.join(nearly)}, named almost like splits; a split's folder is "
            f"called {', '.join(splits.SPELLINGS)}"
        )
    if own and others:
        raise DataError(
            f"{name} holds both splits ({', '.join(own)}) and other folders ({', '.join(others)}): "
            f"class folders belong inside the splits ({own[0]}/{others[0]}), and a class must not "
            "be named like a split"
        )
    return splits.by_usual_name(name, own)


def _found(name: str, folder: pathlib.Path, kind: Kind) -> list[File]:
    """The files of one split, each with its class."""
    direct: list[File] = []
    classed: list[File] = []
    for entry in visible(folder):
        if entry.is_dir():
            _check_no_splits(name, entry)
            classed += [(path, entry.name) for path in files_below(entry, kind)]
        elif _is_one(entry.name, kind):
            direct.append((entry, None))
    if direct and classed:
        raise DataError(
            f"{name}: some {kind.noun}s are in subfolders ({classed[0][0]}) and some are not "
            f"({direct[0][0]}); put all in subfolders, whose names are the classes, or none"
        )
    return direct or classed


def _check_no_splits(name: str, folder: pathlib.Path) -> None:
    """Raises ``DataError`` where what would be a class holds splits."""
    inner = [path.name for path in visible(folder) if path.is_dir() and _is_split(path.name)]
    if len(inner) > 1:
        raise DataError(
            f"{name}: {folder} would be a class, but holds splits ({', '.join(inner)}); the set is "
            f"folder:{folder}, or should hold {inner[0]}/{folder.name} and so on"
        )


def _is_split(folder: str) -> bool:
    """Whether a folder's name is that of a split, or of something like it."""
    return (
        splits.usual(folder) in splits.SPELLINGS
        or splits.side_of(folder) is not None
        or _NEARLY.fullmatch(folder) is not None
    )


def _is_one(name: str, kind: Kind) -> bool:
    return pathlib.PurePath(name).suffix.lower() in kind.endings and not _is_hidden(name)
