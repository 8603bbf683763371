"""Data sets, and batches of them as a pure function of the step.

``load`` opens a set by name, ``Batches`` makes any training batch from its step's number,
``evaluation_batches`` goes through a set once, padded and masked.
"""

from gen_jax.data.batches import Batches, EvaluationBatches, evaluation_batches
from gen_jax.data.dataset import ArrayDataset, Dataset
from gen_jax.data.errors import DataError
from gen_jax.data.loading import load
from gen_jax.data.stream import StreamDataset

__all__ = [
    "ArrayDataset",
    "Batches",
    "DataError",
    "Dataset",
    "EvaluationBatches",
    "StreamDataset",
    "evaluation_batches",
    "load",
]
