"""The aliases and the one image convention that every part of the library shares.

Images are ``uint8`` arrays ``[batch, height, width, channels]`` (one or three channels,
0 is black) on disk, on the host, and up to the device. A model turns them into what its
likelihood expects (binary, float in [0, 1], integer levels) inside its compiled step, with the
functions of ``gen_jax.images``; nothing else in the library converts them. Audio and tokens
are integers in the same way.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Key, UInt8

Array = jax.Array
PRNGKey = Key[Array, ""]  # a typed key, as ``jax.random.key`` makes it
PRNGKeys = Key[Array, " batch"]  # one key per example
Numbers = Int[Array, " batch"]  # each example's own: with a key it says all that is drawn for it
Images = UInt8[Array, "batch height width channels"]
PerExample = Float[Array, " batch"]
Params = Any  # a pytree of float32 arrays, as ``flax.linen`` makes it
Batch = Mapping[str, Array]  # "image", and where known "label"; "mask", "number" in evaluation
Metrics = dict[str, Array]
MeanImage = Float[Array | np.ndarray, "height width channels"]
ImageShape = tuple[int, int, int]  # height, width, channels
