"""A hundred small faces out of scikit-image, to try things on."""

import numpy as np

from gen_jax.data.dataset import ArrayDataset
from gen_jax.data.errors import DataError
from gen_jax.data.pictures.picture import ImageOptions
from gen_jax.data.pictures.plain import open_plain


class MiniFaces:
    """A source with the 100 gray 25×25 faces of ``skimage.data.lfw_subset``, without labels.

    They come with the scikit-image package, so nothing is fetched; ``DataError`` says how to
    install it.
    """

    name = "faces-mini"
    splits = ("train",)
    ignored = ()

    def __init__(self, options: ImageOptions):
        self._options = options

    def open(self, *splits: str) -> ArrayDataset:
        try:
            from skimage.data import lfw_subset
        except ImportError as error:
            raise DataError(
                "faces-mini are images of the scikit-image package: pip install scikit-image"
            ) from error
        faces = lfw_subset()[:100]  # float in [0, 1]; the other 100 are not faces
        images = np.round(faces * 255.0).astype(np.uint8)[..., None]
        return open_plain(self.name, splits, [images], None, None, self._options)
