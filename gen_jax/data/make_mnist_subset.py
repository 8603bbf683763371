"""Writes the shipped subset of MNIST from the full set.

python -m gen_jax.data.make_mnist_subset --source npz:mnist.npz
python -m gen_jax.data.make_mnist_subset --source tfds:mnist --data-dir ~/tensorflow_datasets
"""

import pathlib
import zipfile

import numpy as np
import tyro

from gen_jax.data.loading import load

TRAIN, TEST = 10_000, 2_000  # so many of the first images
SHIPPED = pathlib.Path(__file__).with_name("mnist_subset.npz")


def make(source: str, out: pathlib.Path = SHIPPED, data_dir: pathlib.Path | None = None) -> None:
    """Writes the first training and test images of MNIST, as uint8, with labels.

    The same images give the same bytes: the archive has no clock in it.

    Args:
        source: the full set, npz:PATH or tfds:mnist.
        out: the .npz file to write.
        data_dir: where tfds:mnist is prepared.
    """
    arrays: dict[str, np.ndarray] = {}
    for prefix, split, n in (("train", "train+validation", TRAIN), ("test", "test", TEST)):
        examples = load(source, split, data_dir=data_dir).take(np.arange(n))
        arrays[f"{prefix}_images"] = examples["image"][..., 0]
        arrays[f"{prefix}_labels"] = examples["label"].astype(np.uint8)
    with zipfile.ZipFile(out, "w") as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry._compresslevel = 9
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


if __name__ == "__main__":
    tyro.cli(make)
