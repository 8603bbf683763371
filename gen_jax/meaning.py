"""What captions say of images, and whether it is true.

An image has ``attributes``, small whole numbers: what is true of it. A caption's ``meaning`` are
what it says of the same attributes, -1 where it says nothing. Another image's caption may well be
true of this one, so that drawing it as a wrong one would teach a falsehood.
"""

from typing import Any

from jaxtyping import Bool, Int


def wrong(
    meaning: Int[Any, "captions attributes"], attributes: Int[Any, "images attributes"]
) -> Bool[Any, "captions images"]:
    """Whether each caption says of each image what is not true of it.

    Takes arrays of NumPy or JAX, and returns one of the same kind. Raises ``ValueError`` for other
    shapes, as where the attributes differ in number.
    """
    if meaning.ndim != 2 or attributes.ndim != 2 or meaning.shape[1] != attributes.shape[1]:
        raise ValueError(
            "meanings [captions, A] and attributes [images, A] need the same A, got "
            f"{list(meaning.shape)} and {list(attributes.shape)}"
        )
    said, true = meaning[:, None, :], attributes[None, :, :]
    return ((said >= 0) & (said != true)).any(-1)
