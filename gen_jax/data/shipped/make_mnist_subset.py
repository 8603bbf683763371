"""Writes the shipped subset of MNIST from the full set.

One of

    python -m gen_jax.data.shipped.make_mnist_subset --source npz:mnist.npz
    python -m gen_jax.data.shipped.make_mnist_subset --source tfds:mnist --data-dir DIR
"""

import pathlib

import numpy as np
import tyro
from jaxtyping import Int

from gen_jax.data.errors import DataError
from gen_jax.data.loading import load
from gen_jax.data.shipped import archive

TRAIN, TEST = 10_000, 2_000  # so many of the first images
SHIPPED = pathlib.Path(__file__).with_name("mnist_subset.npz")


def make(source: str, out: pathlib.Path = SHIPPED, data_dir: pathlib.Path | None = None) -> None:
    """Writes the first training and test images of MNIST, as uint8, with labels.

    They are in MNIST's own order, also where TFDS has shuffled them. The same images give the same
    bytes: the archive has no clock in it.

    Args:
        source: the full set, npz:PATH or tfds:mnist.
        out: the .npz file to write.
        data_dir: where tfds:mnist is prepared.
    """
    arrays: dict[str, np.ndarray] = {}
    for prefix, split, n in (("train", "train+validation", TRAIN), ("test", "test", TEST)):
        dataset = load(source, split, data_dir=data_dir)
        if len(dataset) < n:
            raise DataError(f"{source} has {len(dataset)} {prefix} images; {n} are needed")
        order = np.arange(len(dataset))
        if source.startswith("tfds:"):
            order = _mnist_order(prefix, len(dataset))
        examples = dataset.take(order[:n])
        arrays[f"{prefix}_images"] = examples["image"][..., 0]
        arrays[f"{prefix}_labels"] = examples["label"].astype(np.uint8)
    archive.write(out, arrays)


def _mnist_order(split: str, n: int) -> Int[np.ndarray, " n"]:
    """Where TFDS stores MNIST's first, second, ... image of a split.

    TFDS sorts a split by salted hashes of the numbers that MNIST's images have.
    """
    from tensorflow_datasets.core import hashing

    numbers = sorted(range(n), key=hashing.Hasher(split).hash_key)
    return np.argsort(numbers)


if __name__ == "__main__":
    tyro.cli(make)
