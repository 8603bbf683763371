"""What captions say of an image, and whether they are wrong."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from gen_jax.typing import Array

Numbers = Int[Array | np.ndarray, "*shape attributes"]


def wrong(meaning: Numbers, attributes: Numbers) -> Bool[Any, "*shape"]:
    """Whether what is said differs from what is true, in NumPy or JAX.

    ``attributes`` are what is true of an image, ``meaning`` what a caption says of each of them,
    -1 where it says nothing: a caption is wrong where it says something else of any. Shapes
    broadcast.
    """
    return ((meaning >= 0) & (meaning != attributes)).any(-1)
