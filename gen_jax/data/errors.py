"""What a user can get wrong about data."""


class DataError(ValueError):
    """A data set cannot be used as requested; says in one line why, and what would be right."""


class UnknownSet(DataError):
    """There is no set of the wanted kind by this name."""


class BadImage(DataError):
    """One image's bytes cannot be decoded; ``skip_bad_images`` leaves such images out."""
