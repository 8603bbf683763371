"""What a user can get wrong about data."""


class DataError(ValueError):
    """A data set cannot be used as requested; says in one line why, and what would be right."""


class BadImage(DataError):
    """One image's bytes cannot be decoded; ``skip_bad_images`` leaves such images out."""
