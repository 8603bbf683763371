"""What captions say of images, and whether it is true.

An image has ``attributes``, small whole numbers: what is true of it. A caption's ``meaning`` are
what it says of the same attributes, -1 where it says nothing. Another image's caption may well be
true of this one, so that showing it as a wrong one would teach a falsehood.
"""

import numpy as np
from jaxtyping import Bool, Int

from gen_jax.typing import Array


def wrong(
    meaning: Int[Array | np.ndarray, "*#dims a"], attributes: Int[Array | np.ndarray, "*#dims a"]
) -> Bool[Array | np.ndarray, "*dims"] | np.bool:
    """Whether a caption says of an image what is not true of it.

    ``meaning`` [..., A] and ``attributes`` [..., A] broadcast; the result has their leading axes.
    """
    return ((meaning >= 0) & (meaning != attributes)).any(-1)
