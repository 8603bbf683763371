"""Options on a command line: how a field declares what it is, and how arguments become a config.

A config is a frozen dataclass whose fields are options. Beside its default a field can declare that
it is no part of a run's identity (``free``), that it says how long to train (``length``), or that
it applies only with certain values of other options (``when``). Where it does not apply it is
refused on the command line, and left out of the run's ``config.json`` and of its report.
"""

import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from experiments.running import arguments
from gen_jax.training import applies, without_idle

C = TypeVar("C")
MAX_SEED = 2**32 - 1  # what a key of ``jax.random.key`` holds


class UsageError(Exception):  # no ValueError: tyro would box those in its own words
    """A mistake of the user's on the command line; its text is one line for them to read."""


# What a field can declare


def free(default: Any, **metadata: object) -> Any:
    """A field that does not make a run another run: changing it still resumes the same folder.

    ``metadata`` is what else it declares (``training.config``).
    """
    return dataclasses.field(default=default, metadata={"identity": False, **metadata})


def length() -> Any:
    """A free field that says how long to train: what the command line gives takes the place of all
    the preset's."""
    return dataclasses.field(default=None, metadata={"identity": False, "length": True})


def when(default: Any, **choices: object) -> Any:
    """A field that applies only where each named option has the given value, or one of a tuple of
    them: ``when(0.5, model="plus-plus")``."""
    wanted = {
        name: values if isinstance(values, tuple) else (values,) for name, values in choices.items()
    }

    def matches(config: Any) -> bool:
        return all(getattr(config, name) in values for name, values in wanted.items())

    def reason(config: Any) -> str:
        here = (name for name, values in wanted.items() if getattr(config, name) not in values)
        name = next(here)
        options = " or ".join(map(str, wanted[name]))
        return f"--{dashed(name)} {options} (here: --{dashed(name)} {getattr(config, name)})"

    return where(default, matches, reason)


def where(
    default: Any,
    matches: Callable[[Any], bool],
    reason: str | Callable[[Any], str],
    **metadata: object,
) -> Any:
    """A field that applies only to configs for which ``matches`` is true.

    ``reason`` completes "--option applies only to ..."; ``metadata`` is the field's own.
    """
    declared = {"applies": matches, "reason": reason, **metadata}
    return dataclasses.field(default=default, metadata=declared)


# Checks


def dashed(name: str) -> str:
    """A field's name as the command line writes it."""
    return name.replace("_", "-")


def require_at_least(least: int, options: Any, *names: str) -> None:
    """Raises ``UsageError`` where one of the named options is below ``least``, or no finite number;
    None passes. Of a tuple each value counts."""
    for name, value in _values(options, names):
        if not least <= value < math.inf:
            raise UsageError(f"--{dashed(name)} must be {least} or more, got {value}")


def require_positive(options: Any, *names: str) -> None:
    """Raises ``UsageError`` where one of the named options is not above 0, or no finite number;
    None passes. Of a tuple each value counts."""
    for name, value in _values(options, names):
        if not 0 < value < math.inf:
            raise UsageError(f"--{dashed(name)} must be positive, got {value}")


def _values(options: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        value = getattr(options, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                yield name, one


def require_seed(seed: int) -> None:
    """Raises ``UsageError`` for a seed that no random key can be made of."""
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed must lie in 0..{MAX_SEED}, got {seed}")


# From arguments to a config


@dataclasses.dataclass(frozen=True)
class ByChoice(Generic[C]):
    """A preset that differs with the value of one option; without it, the first is taken."""

    option: str
    presets: Mapping[str, C]

    def chosen(self, args: Sequence[str]) -> C:
        """The preset for the value that the arguments give the option."""
        value = ""
        for argument, following in zip(args, [*args[1:], ""], strict=False):
            if _option_of(argument) == self.option:  # the last one counts
                value = argument.partition("=")[2] or following
        first = next(iter(self.presets.values()))
        return self.presets.get(value, first)  # a wrong value is tyro's to refuse

    def name_of(self, preset: C) -> str | None:
        """The value that a preset is for; None for the first."""
        others = list(self.presets)[1:]
        return next((value for value in others if self.presets[value] is preset), None)


class Parsed(NamedTuple, Generic[C]):
    """What a command line asks for: the preset's name, the preset, and the config made of it."""

    name: str
    preset: C
    config: C


def help_text(docstring: str | None) -> str:
    """A module's docstring as ``--help`` shows it: each example on a line of its own."""
    return re.sub(r"(?m)^(?=python -m )", "    ", docstring or "")


def parse(
    presets: Mapping[str, C | ByChoice[C]],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str | None,
) -> Parsed[C]:
    """Reads ``[PRESET] [--option value ...]``.

    Raises:
      UsageError: an unknown preset, two options that say how long to train, or an option that
        would do nothing.
      SystemExit: ``--help``, or an option that does not exist (with the parser's own message).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    name = "default"
    if args and not args[0].startswith("-"):
        name = args.pop(0)
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"no preset {name!r}{hint}; there are {', '.join(presets)}")
    found = presets[name]
    preset: Any = found.chosen(args) if isinstance(found, ByChoice) else found
    given = set(map(_option_of, args))
    default = _of_given_length(preset, given)
    about = f"{help_text(description).strip()}\n\nPresets: {', '.join(presets)} (first argument)."
    if isinstance(found, ByChoice):
        choice = dashed(found.option)
        about += f" The defaults shown are those of {name} with --{choice} "
        about += f"{getattr(preset, found.option)}."
    config = arguments.read(default, args, prog=prog, description=about)
    _refuse_no_length(config)
    refuse_idle(config, given)
    return Parsed(name, preset, without_idle(config))


def _option_of(argument: str) -> str:
    """The field that an argument sets: ``--no-quiet``, ``--run_dir=x`` and ``--run-dir`` too."""
    if not argument.startswith("--"):
        return ""
    return argument.partition("=")[0][2:].replace("-", "_").removeprefix("no_")


def _of_given_length(preset: Any, given: set[str]) -> Any:
    """The preset without its own length where the command line gives one."""
    known = _lengths(preset)
    lengths = [f"--{dashed(name)}" for name in known if name in given]
    if len(lengths) > 1:
        raise UsageError(f"{' and '.join(lengths)} both set the length: give only one")
    return dataclasses.replace(preset, **dict.fromkeys(known)) if lengths else preset


def _refuse_no_length(config: Any) -> None:
    """Raises ``UsageError`` where every way to set the length is None."""
    known = _lengths(config)
    if known and all(getattr(config, name) is None for name in known):
        raise UsageError(f"the length is missing: give {' or '.join(f'--{n}' for n in known)}")


def _lengths(config: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(config) if "length" in field.metadata]


def refuse_idle(config: Any, given: set[str]) -> None:
    """Raises ``UsageError`` for an option that was given and would do nothing."""
    for field in dataclasses.fields(config):
        if field.name in given and not applies(field, config):
            reason = field.metadata["reason"]
            words = reason if isinstance(reason, str) else reason(config)
            raise UsageError(f"--{dashed(field.name)} applies only to {words}")
