"""Arguments as the fields of a dataclass: by tyro where it is installed, else by argparse.

Without tyro an option is a plain value, a choice, or several of one of these; other fields are no
options then. A field of ``Hidden[...]`` is no option in either case.
"""

import argparse
import dataclasses
import pathlib
import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

try:
    import tyro
except ImportError:  # a machine for benchmarks may have only what models need
    tyro = None

C = TypeVar("C")
if TYPE_CHECKING or tyro is None:  # noqa: SIM108 -- type checkers read the alias
    Hidden = Annotated[C, "no option"]
else:
    Hidden = tyro.conf.Suppress

PLAIN = str, int, float, pathlib.Path


def read(default: C, args: Sequence[str], *, prog: str, description: str) -> C:
    """``default`` with what the arguments change of it.

    Raises ``SystemExit`` for ``--help``, and for an option or value that cannot be.
    """
    if tyro is not None:
        return tyro.cli(
            type(default), default=default, args=args, prog=prog, description=description
        )
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog, description=description, formatter_class=layout, allow_abbrev=False
    )
    for name, hint in typing.get_type_hints(type(default), include_extras=True).items():
        reading = _reading(hint)
        if reading is not None:
            flag = f"--{name.replace('_', '-')}"
            parser.add_argument(flag, default=getattr(default, name), **reading)
    given = vars(parser.parse_args(args))
    values = {name: tuple(x) if isinstance(x, list) else x for name, x in given.items()}
    return dataclasses.replace(default, **values)  # pyright: ignore[reportArgumentType] -- C is a dataclass


def _reading(hint: Any) -> dict[str, Any] | None:
    """How argparse reads a field of this type; None where it cannot."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in args if kind is not type(None)]
        return _reading(kinds[0]) if len(kinds) == 1 else None
    if origin is tuple and args[1:] == (...,):
        each = _reading(args[0])
        return None if each is None else {**each, "nargs": "*"}
    if origin is Literal:
        return {"type": type(args[0]), "choices": args}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": hint} if hint in PLAIN else None
