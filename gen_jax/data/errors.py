"""What a user can get wrong about data."""

from collections.abc import Sequence

SHOWN = 3  # of the names that a message is about


class DataError(ValueError):
    """A data set cannot be used as requested; says in one line why, and what would be right."""


class UnknownSet(DataError):
    """No set of the required kind has this name."""


class BadImage(DataError):
    """One image's bytes cannot be decoded; ``skip_bad_images`` leaves such images out."""


def few(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
