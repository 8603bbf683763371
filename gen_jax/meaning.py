"""What captions say about images: attributes, numbers from 0 on, or -1 where nothing is said."""

import numpy as np
from jaxtyping import Bool, Int

from gen_jax.typing import Array


def wrong(
    meaning: Int[Array | np.ndarray, "*#dims a"], attributes: Int[Array | np.ndarray, "*#dims a"]
) -> Bool[Array | np.ndarray, "*dims"] | np.bool:
    """Whether a caption says of an image what is not true of it.

    ``meaning`` [..., A] is what captions say, -1 where they do not; ``attributes`` [..., A] is true
    of the images. Their leading axes broadcast: the result, bool, has these.
    """
    return ((meaning >= 0) & (meaning != attributes)).any(-1)
