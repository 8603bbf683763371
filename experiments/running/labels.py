"""Whether a data set has the labels that a model of classes is told."""

from typing import Any

import numpy as np

from experiments.running.config import UsageError
from experiments.running.harness import Splits


def require_labels(dataset: str, splits: Splits[Any]) -> None:
    """Raises ``UsageError`` for a part without labels: training, validation and test want them."""
    for name in ("train", "validation", "test"):
        if "label" not in getattr(splits, name).take(np.arange(1)):
            raise UsageError(
                f"--class-conditional wants labels, and the {name} examples of {dataset} have "
                "none: give --no-class-conditional"
            )


def count_classes(splits: Splits[Any], dataset: str) -> int:
    """How many classes a model is told of. Raises ``UsageError`` as ``require_labels``."""
    require_labels(dataset, splits)
    train = splits.train
    if train.class_names is not None:
        return len(train.class_names)
    return int(train.take(np.arange(len(train)))["label"].max()) + 1
