"""Weights of feature networks on disk: safetensors files, which hold named numbers and no code.

A file written here carries the SHA-256 of its numbers, and is refused where they have changed.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from gen_jax.files import RunError, write_atomically

Tensors = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


class WeightsError(ValueError):
    """A weights file cannot be used; says in one line why, and what would be right."""


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name.

    Raises ``WeightsError`` where there is no such file, it is of another kind, or damaged.
    """
    import safetensors  # late: few runs read weights

    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02"):
            raise WeightsError(
                f"{path} is a PyTorch file; python -m experiments.convert_inception "
                "converts it to safetensors"
            )
        with safetensors.safe_open(path, framework="np") as file:
            tensors, about = file.get_tensors(), file.metadata() or {}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file, or is damaged: {error}") from None
    except (AttributeError, KeyError, TypeError) as error:  # of the numbers' type
        raise WeightsError(f"{path} has numbers of a type that NumPy lacks: {error}") from None
    if about.get("sha256", digest(tensors)) != digest(tensors):
        raise WeightsError(f"{path} is damaged: its numbers are not those that were written")
    return tensors


def write(path: str | os.PathLike[str], tensors: Tensors) -> None:
    """Writes arrays as a safetensors file, whole or not at all, with their digest in its header.

    Raises ``WeightsError`` where it cannot.
    """
    import safetensors.numpy

    path = pathlib.Path(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    try:
        write_atomically(path, safetensors.numpy.save(arrays, {"sha256": digest(arrays)}))
    except RunError as error:
        raise WeightsError(str(error)) from None


def digest(tensors: Tensors) -> str:
    """SHA-256 over arrays as hex digits; each counts with its name, dtype, shape and bytes.

    The order of the arrays, and the kind of file that they come from, do not matter.
    """
    sha = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def select(tensors: Tensors, shapes: Shapes, *, network: str, where: str) -> dict[str, np.ndarray]:
    """The arrays that a network is made of, once it is sure that each is there and fits.

    Raises ``WeightsError`` naming the first that is missing, of another shape, not of floating
    point, or not finite. Other arrays are left out.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise WeightsError(f"{where} is not of {network}: {name} is missing")
        array = tensors[name]
        if array.shape != tuple(shape):
            raise WeightsError(
                f"{where} is not of {network}: {name} has shape "
                f"{list(array.shape)}, not {list(shape)}"
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise WeightsError(f"{where} is not of {network}: {name} holds {array.dtype.name}")
        if not np.isfinite(array).all():
            raise WeightsError(f"{where} is damaged: {name} has values that are not finite")
    return {name: tensors[name] for name in shapes}
