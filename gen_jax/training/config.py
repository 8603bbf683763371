"""Configs as JSON and back: a frozen dataclass of numbers, words, tuples, paths and dataclasses.

A field can declare by its ``metadata`` what it is to a run:

- ``identity`` (default True): whether another value makes another run;
- ``applies``: a function of the config that says whether the field means anything given the other
  fields; one that does not is left out, and comes back as its default;
- ``before``: what it was in runs that were saved before the field was there; without it such a
  run is refused.
"""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def applies(field: dataclasses.Field[Any], config: Any) -> bool:
    """Whether a field of ``config`` means anything given its other fields."""
    test = field.metadata.get("applies")
    return test is None or test(config)


def without_idle(config: Config) -> Config:
    """The config with every field that does not apply at its default."""
    fields: Any = dataclasses.fields(config)  # pyright: ignore[reportArgumentType] -- a dataclass
    idle = {field.name: field.default for field in fields if not applies(field, config)}
    return dataclasses.replace(config, **idle) if idle else config  # pyright: ignore -- likewise


def encode(config: Any) -> dict[str, Any]:
    """The fields of a config that apply, as JSON holds them."""
    fields = [field for field in dataclasses.fields(config) if applies(field, config)]
    return {field.name: _encode(getattr(config, field.name)) for field in fields}


def decode(cls: type[Config], content: Any) -> Config:
    """The config that ``encode`` was given, with what does not apply at its default.

    Fields that ``cls.former_fields`` names, of earlier versions, are dropped. Raises
    ``ValueError``, naming the field, where the content is not that of a ``cls``.
    """
    if isinstance(content, dict):
        former = getattr(cls, "former_fields", ())
        content = {name: value for name, value in content.items() if name not in former}
    return without_idle(_decode(cls, content, "config"))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted names."""
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_encode(x) for x in value]
    return str(value) if isinstance(value, pathlib.PurePath) else value


def _decode(hint: Any, value: Any, where: str) -> Any:
    """Rebuilds what ``_encode`` made, as the field's type says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _decode(args[0], value, where)
    if origin in (typing.Union, types.UnionType):
        return _decode_one_of(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(str, args))}, got {value!r}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object, got {value!r}")
        hints = typing.get_type_hints(hint, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(hint)}
        if unknown := sorted(value.keys() - fields.keys()):
            raise ValueError(f"unknown field {', '.join(unknown)} in {where}")
        later = {name: _before(f) for name, f in fields.items() if name not in value}
        if missing := [name for name, old in later.items() if old is dataclasses.MISSING]:
            raise ValueError(f"missing field {', '.join(missing)} in {where}")
        return hint(**later, **{name: _decode(hints[name], x, name) for name, x in value.items()})
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {value!r}")
        items = (args[0],) * len(value) if args[1:] == (...,) else args
        if len(items) != len(value):
            raise ValueError(f"{where} must have {len(items)} values, got {value!r}")
        return tuple(_decode(item, x, where) for item, x in zip(items, value, strict=True))
    if isinstance(hint, type) and issubclass(hint, pathlib.PurePath):
        return hint(value)
    wanted = {bool: bool, int: int, float: float | int, str: str}.get(hint, object)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint in (int, float)):
        raise ValueError(f"{where} must be {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _before(field: dataclasses.Field[Any]) -> Any:
    """What a field is where the saved config lacks it: it did not apply, or it came later."""
    idle = field.default if "applies" in field.metadata else dataclasses.MISSING
    return field.metadata.get("before", idle)


def _decode_one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """Rebuilds a value of the first type that it fits."""
    if value is None and type(None) in hints:
        return None
    reasons = []
    for hint in hints:
        if hint is not type(None):
            try:
                return _decode(hint, value, where)
            except ValueError as error:
                reasons.append(error)
    raise reasons[0]
