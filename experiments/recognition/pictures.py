"""What the report of a classifier's run shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gen_jax import data, images, reporting
from gen_jax.typing import Array

SHOWN = 64


def worst(part: data.Dataset, nll: np.ndarray) -> np.ndarray:
    """The images whose label the network gives the least probability, worst first."""
    return part.take(np.argsort(-nll, kind="stable")[:SHOWN])["image"]


def add_judged(
    run_dir: Path,
    test: data.Dataset,
    judged: Mapping[str, np.ndarray],
    class_names: Sequence[str],
) -> None:
    """Adds the worst recognized test images, and what was taken for what."""
    reporting.add_picture(
        run_dir,
        "worst",
        images.grid(worst(test, judged["nll"])),
        title="Hardest test images",
        caption="Those whose class the classifier gives the least probability, the worst first.",
    )
    labels = test.take(np.arange(len(test)))["label"]
    counts = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(counts, (labels, judged["guess"]), 1)
    reporting.add_table(
        run_dir,
        "confusion",
        ["class", *(f"read as {name}" for name in class_names)],
        [(name, *map(int, row)) for name, row in zip(class_names, counts, strict=True)],
        title="What is taken for what",
        caption="Test images by their class (rows) and by what the classifier reads (columns).",
    )


def add_augmented(run_dir: Path, image: Array) -> None:
    """Adds images as the network sees them in training."""
    reporting.add_picture(
        run_dir,
        "augmented",
        images.grid(np.asarray(images.to_uint8(image))),
        title="Augmented images",
        caption="Training images, changed at random as in training.",
    )
