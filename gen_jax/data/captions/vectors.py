"""A file of the vectors of captions."""

import pathlib

import numpy as np
from jaxtyping import Float
from numpy.lib.format import read_array

from gen_jax.data.captions.captioned import check_embeddings
from gen_jax.data.errors import DataError, few


def vectors_in(name: str, file: pathlib.Path, n: int) -> Float[np.ndarray, "n size"]:
    vectors = _array(name, file)
    what = f"{name}: the embeddings in {file}"
    if vectors.ndim != 2 or len(vectors) != n:
        raise DataError(
            f"{what} must be [{n}, size], one for each caption, got {list(vectors.shape)}"
        )
    if not vectors.shape[1]:
        raise DataError(f"{what} must have a size of 1 or more, got 0")
    check_embeddings(what, vectors)
    return vectors


def _array(name: str, file: pathlib.Path) -> np.ndarray:
    import safetensors.numpy  # late: few sets have a file of vectors

    try:
        if file.suffix != ".safetensors":
            with file.expanduser().open("rb") as stream:
                return read_array(stream, allow_pickle=False)
        arrays = safetensors.numpy.load_file(file.expanduser())
    except OSError as error:
        raise DataError(f"{name}: the embeddings {file} cannot be read: {error}") from error
    except (ValueError, EOFError, safetensors.SafetensorError) as error:
        raise DataError(
            f"{name}: the embeddings {file} cannot be read: {error}; an intact .npy or "
            ".safetensors file is needed"
        ) from error
    except (AttributeError, KeyError, TypeError) as error:  # of safetensors
        raise DataError(
            f"{name}: the embeddings {file} have numbers of a type that NumPy lacks: {error}"
        ) from error
    if len(arrays) != 1:
        names = f" ({few([*arrays])})" if arrays else ""
        raise DataError(
            f"{name}: the embeddings {file} must be one array, the file holds {len(arrays)}{names}"
        )
    return next(iter(arrays.values()))
