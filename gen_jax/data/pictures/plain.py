"""Pictures that a source keeps as an array of levels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.digests import digest
from gen_jax.data.pictures import picture
from gen_jax.data.pictures.picture import ImageOptions


def open_plain(
    name: str,
    splits: Sequence[str],
    parts: Sequence[UInt8[np.ndarray, "n height width channels"]],
    labels: Int[np.ndarray, " n"] | None,
    class_names: tuple[str, ...] | None,
    options: ImageOptions,
    *,
    origin: str | None = None,
) -> ArrayDataset:
    """The data set of the arrays of some splits, of the requested size and channels.

    ``origin`` is the digest of what the levels were made from, by a decoder say (default: of the
    levels). The set's digest covers that and the options: how a picture is resized may change from
    one release of Pillow to the next. Raises ``DataError`` for splits that differ.
    """
    if not options.keeps_format:
        made_from = parts if origin is None else [origin]
        origin = digest(*made_from, labels, options.image_size, options.channels)
        parts = [np.stack([picture.convert(image, options) for image in part]) for part in parts]
    for split, part in zip(splits, parts, strict=True):
        picture.check_alike(f"{name} {split}", part.shape[1:], splits[0], parts[0].shape[1:])
    images = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return ArrayDataset(
        name, "+".join(splits), images, labels, class_names=class_names, origin=origin
    )


def halved(
    images: UInt8[np.ndarray, "n height width channels"],
) -> UInt8[np.ndarray, "n height/2 width/2 channels"]:
    """Images of half the height and width: each pixel is the mean of 2×2, rounded, halves up.

    The box filter leaves no ringing beside the edges of flat drawings, and its whole numbers are
    the same everywhere.
    """
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
