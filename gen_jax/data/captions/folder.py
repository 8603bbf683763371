"""A folder of pictures, with a file of their captions."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float, Int
from numpy.lib.format import read_array

from gen_jax.data.captions.captioned import Captioned, check_embeddings
from gen_jax.data.captions.letters import spelled
from gen_jax.data.captions.sharing import by_sharing
from gen_jax.data.errors import DataError
from gen_jax.data.pictures.folder import ImageFolder
from gen_jax.data.pictures.picture import ImageOptions

FILES = ("captions.jsonl", "captions.csv")
NAMES = ("file_name", "file", "image")  # what the picture's column may be called
TEXTS = ("text", "caption", "captions")
_OBJECT = '{"file_name": "1.png", "text": "a cat"}'
_SHOWN = 3  # of the names that a message is about
_WIDE = 60  # letters of a value that a message is about
Key = tuple[str, int]  # a picture: its split and its place there


class CaptionedFolder:
    """A source of the pictures of a folder (see ``ImageFolder``) with the captions of a file.

    That is ``captions.jsonl``, an object a line, or ``captions.csv`` with a header, in the folder
    itself. Each line has a picture, "file_name" (or "file", "image"): its path in the folder, with
    its ending or without, as ``train/cats/1.png``; and its caption, "text" (or "caption",
    "captions"), of which JSON may hold a list. A picture may have several lines.

    A caption is wrong for the pictures that do not have it, as spelled. Class folders say more:
    where there are two or more, a caption is true of all pictures of its own picture's class (see
    ``by_sharing``).

    ``embeddings`` is an .npy file, or a .safetensors file of one array, of floats [number of
    captions, size] in the order of the file of captions, whatever the splits.

    Raises ``DataError`` for a missing or damaged file, a line that names its picture or its caption
    twice or not at all or has more fields than the header, a caption that is empty or of no
    picture, a picture without a caption, captions of which none is ever wrong, two pictures that
    differ only in their ending, embeddings of another number or that are not finite floats, and
    with ``skip_bad_images``.
    """

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        options: ImageOptions,
        length: int,
        embeddings: str | os.PathLike[str] | None = None,
    ):
        if options.skip_bad_images:
            raise DataError(
                f"{name}: skip_bad_images would leave captions without their picture; remove the "
                "unreadable pictures and their captions"
            )
        self.name = name
        self._pictures = ImageFolder(name, path, options)
        self._length = length
        self.splits = self._pictures.splits
        self.ignored = self._pictures.ignored
        self._captions = _captions_of(name, path, self._keys(path))
        texts = [[text for text, _ in those] for those in self._captions.values()]
        meanings, attributes = by_sharing(name, texts, self._kinds())
        ends = np.cumsum([len(those) for those in texts])
        self._meanings = dict(zip(self._captions, np.split(meanings, ends[:-1]), strict=True))
        self._attributes = dict(zip(self._captions, attributes, strict=True))
        n = len(meanings)
        self._vectors = None if embeddings is None else _vectors(name, pathlib.Path(embeddings), n)

    def open(self, *splits: str) -> Captioned:
        pictures = self._pictures.open(*splits)
        keys = [key for key in self._captions if key[0] in splits]
        keys.sort(key=lambda key: (splits.index(key[0]), key[1]))
        own = [self._captions[key] for key in keys]
        rows = [row for those in own for _, row in those]
        return Captioned(
            pictures,
            [[text for text, _ in those] for those in own],
            np.concatenate([self._meanings[key] for key in keys]),
            np.stack([self._attributes[key] for key in keys]),
            embeddings=None if self._vectors is None else self._vectors[rows],
            length=self._length,
            least_captions=max(map(len, self._captions.values())),
            name=self.name,
        )

    def _keys(self, path: pathlib.Path) -> dict[str, Key]:
        """Each picture by its path in the folder, with its ending and without."""
        keys: dict[str, Key] = {}
        for split in self.splits:
            for place, file in enumerate(self._pictures.by_name(split).values()):
                inside = file.relative_to(path.resolve())
                keys[inside.as_posix()] = (split, place)
                keys.setdefault(inside.with_suffix("").as_posix(), (split, place))
        return keys

    def _kinds(self) -> Int[np.ndarray, " n"] | None:
        """The class of each picture, None where classes tell nothing: there are none, or one."""
        classes = {split: self._pictures.classes(split) for split in self.splits}
        own = [classes[split][place] for split, place in self._captions]
        if len({*own}) < 2:
            return None
        numbers: dict[str | Key, int] = {}
        named = zip(self._captions, own, strict=True)
        return np.array(
            [numbers.setdefault(key if name is None else name, len(numbers)) for key, name in named]
        )


def _captions_of(
    name: str, path: pathlib.Path, keys: Mapping[str, Key]
) -> dict[Key, list[tuple[str, int]]]:
    """The captions of each picture, each with its number in the file, in the pictures' order.

    Raises ``DataError`` for captions and pictures without their counterpart.
    """
    found = [path / file for file in FILES if (path / file).is_file()]
    if len(found) != 1:
        have = "both {} and {}" if found else "neither {} nor {}"
        raise DataError(f"{name}: {path} has {have.format(*FILES)}; it needs one of them")
    (file,) = found
    captions: dict[Key, list[tuple[str, int]]] = {key: [] for key in keys.values()}
    strangers: dict[str, None] = {}
    number = 0
    for where, picture, texts in _read(name, file):
        key = keys.get(pathlib.PurePosixPath(picture).as_posix())
        for text in texts:
            if not spelled(text):
                raise DataError(f"{where}: the caption of {picture} is empty, {text!r}")
            if key is not None:
                captions[key].append((text, number))
            number += 1
        if key is None:
            strangers[picture] = None
    if strangers:
        raise DataError(
            f"{name}: {len(strangers)} of the pictures in {file.name} "
            f"{'is' if len(strangers) == 1 else 'are'} not in the folder: {_some([*strangers])}"
        )
    without: dict[Key, str] = {}
    for picture, key in keys.items():
        if not captions[key]:
            without.setdefault(key, picture)  # with its ending
    if without:
        raise DataError(
            f"{name}: {len(without)} of {len(captions)} pictures "
            f"{'has' if len(without) == 1 else 'have'} no caption in {file.name}: "
            f"{_some([*without.values()])}"
        )
    return captions


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _read(name: str, file: pathlib.Path) -> Iterator[tuple[str, str, list[str]]]:
    """Of each line where it is, its picture and its captions."""
    try:
        lines = io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        number = len(error.object[: error.start + 1].splitlines())
        raise DataError(
            f"{name}: line {number} of {file.name} is not UTF-8 (byte "
            f"0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error
    if file.suffix == ".csv":
        yield from _rows(name, file, lines)
        return
    for number, line in enumerate(lines, start=1):
        where = f"{name}: line {number} of {file.name}"
        if line.strip():
            fields = _parsed(where, line)
            names = _names(where, "keys", fields, f"each line has both, as in {_OBJECT}")
            yield _picture_and_texts(where, fields, names)


def _rows(name: str, file: pathlib.Path, lines: TextIO) -> Iterator[tuple[str, str, list[str]]]:
    """``_read`` for a table."""
    table = csv.DictReader(lines, strict=True)
    try:
        columns = table.fieldnames or ()
        for column in (*NAMES, *TEXTS):
            if columns.count(column) > 1:
                raise DataError(f"{name}: {file.name} has several columns {column}; it needs one")
        header = f"{name}: line 1 of {file.name}"
        names = _names(header, "columns", columns, "a header has both, as in file_name,text")
        for fields in table:
            where = f"{name}: line {table.line_num} of {file.name}"
            more = len(fields.get(None, ()))  # what the columns leave over
            if more or None in (fields[names[0]], fields[names[1]]):
                n = len(columns) + more - [*fields.values()].count(None)
                counts = f"{n} {'field' if n == 1 else 'fields'}, the header {len(columns)}"
                quotes = '; a caption with a comma needs quotes, as in 1.png,"a cat, asleep"'
                raise DataError(f"{where} has {counts}{quotes if more else ''}")
            yield _picture_and_texts(where, fields, names)
    except csv.Error as error:
        raise DataError(
            f"{name}: {file.name} cannot be read after line {table.line_num}: {error}"
        ) from error


def _parsed(where: str, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line.rstrip())
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise DataError(f"{where} is not valid JSON: {what} at column {error.colno}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where} must be an object, as in {_OBJECT}, got {_short(fields)}")
    return fields


def _names(where: str, noun: str, found: Collection[str], wanted: str) -> tuple[str, str]:
    """What the picture and the captions are called, among the keys or columns found."""
    pictures, texts = ([name for name in names if name in found] for names in (NAMES, TEXTS))
    for those in (pictures, texts):
        if len(those) > 1:
            raise DataError(f"{where} has both {those[0]} and {those[1]}; it needs one of them")
    lacking = [
        f"no {half} ({', '.join(names[:-1])} or {names[-1]})"
        for half, names, those in (("picture", NAMES, pictures), ("caption", TEXTS, texts))
        if not those
    ]
    if lacking:
        among = f" among its {noun} {_some([*map(repr, found)])}" if found else ""
        raise DataError(f"{where} has {' and '.join(lacking)}{among}; {wanted}")
    return pictures[0], texts[0]


def _picture_and_texts(
    where: str, fields: Mapping[str, Any], names: tuple[str, str]
) -> tuple[str, str, list[str]]:
    picture, texts = (fields[name] for name in names)
    if not isinstance(picture, str) or not picture:
        raise DataError(
            f"{where} has no picture: {names[0]} must be a path in the folder, got "
            f"{_short(picture)}"
        )
    own = [texts] if isinstance(texts, str) else texts
    if not isinstance(own, list) or not own or not all(isinstance(text, str) for text in own):
        raise DataError(
            f"{where} has no caption: {names[1]} must be a text or a list of texts, got "
            f"{_short(texts)}"
        )
    return where, picture, own


def _short(value: Any) -> str:
    """A value as JSON, or its start."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDE else f"{text[:_WIDE]}..."


def _vectors(name: str, file: pathlib.Path, n: int) -> Float[np.ndarray, "n size"]:
    vectors = _array(name, file)
    what = f"{name}: the embeddings in {file}"
    if vectors.ndim != 2 or len(vectors) != n:
        raise DataError(
            f"{what} must be [{n}, size], one for each caption, got {list(vectors.shape)}"
        )
    if not vectors.shape[1]:
        raise DataError(f"{what} must have a size of 1 or more, got 0")
    check_embeddings(what, vectors)
    return vectors


def _array(name: str, file: pathlib.Path) -> np.ndarray:
    try:
        if file.suffix != ".safetensors":
            with file.expanduser().open("rb") as stream:
                return read_array(stream, allow_pickle=False)
        arrays = safetensors.numpy.load_file(file.expanduser())
    except OSError as error:
        raise DataError(f"{name}: the embeddings {file} cannot be read: {error}") from error
    except (ValueError, EOFError, safetensors.SafetensorError) as error:
        raise DataError(
            f"{name}: the embeddings {file} cannot be read: {error}; an intact .npy or "
            ".safetensors file is needed"
        ) from error
    except (AttributeError, KeyError, TypeError) as error:  # of safetensors
        raise DataError(
            f"{name}: the embeddings {file} have numbers of a type that NumPy lacks: {error}"
        ) from error
    if len(arrays) != 1:
        names = f" ({_some([*arrays])})" if arrays else ""
        raise DataError(
            f"{name}: the embeddings {file} must be one array, the file holds {len(arrays)}{names}"
        )
    return next(iter(arrays.values()))
