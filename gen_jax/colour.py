"""From colour to gray in NumPy alone, for data and baselines."""

import numpy as np
from jaxtyping import UInt8


def luma(image: UInt8[np.ndarray, "... channels"]) -> UInt8[np.ndarray, "... 1"]:
    """The luma of ITU-R 601 of RGB images, rounded as Pillow's ``convert("L")`` does; a copy
    of gray images.

    Raises ``ValueError`` for images that are not uint8, or of another number of channels.
    """
    if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must be uint8 (levels 0..255) of 1 or 3 channels, got {image.dtype} "
            f"{list(image.shape)}"
        )
    if image.shape[-1] == 1:
        return image.copy()
    weighted = image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighted + 0x8000) >> 16).astype(np.uint8)[..., None]
