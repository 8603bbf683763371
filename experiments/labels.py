"""Whether a data set has the labels that a model of classes is told."""

from typing import Any

import numpy as np

from experiments.config import UsageError
from experiments.harness import Splits


def require_labels(dataset: str, splits: Splits[Any]) -> None:
    """Raises ``UsageError`` for a part without labels: training, validation and test want them."""
    for name in ("train", "validation", "test"):
        if "label" not in getattr(splits, name).take(np.arange(1)):
            raise UsageError(
                f"--class-conditional wants labels, and the {name} images or sounds of {dataset} "
                "have none"
            )
