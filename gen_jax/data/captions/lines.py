"""The lines of a file of captions: JSON lines, or a table."""

import csv
import io
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TextIO

from gen_jax.data.errors import DataError, few

NAMES = ("file_name", "file", "image")  # what the picture's column may be called
TEXTS = ("text", "caption", "captions")
_OBJECT = '{"file_name": "1.png", "text": "a cat"}'
_WIDE = 60  # letters of a value that a message is about


def captions_in(name: str, file: pathlib.Path) -> Iterator[tuple[str, str, list[str]]]:
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
    """``captions_in`` for a table."""
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
        among = f" among its {noun} {few([*map(repr, found)])}" if found else ""
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
