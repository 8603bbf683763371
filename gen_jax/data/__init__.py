"""Data sets, and batches of them as a pure function of the step.

``load`` opens a set of images by name and ``load_audio`` one of sounds, ``Batches`` makes any
training batch from its step's number, ``evaluation_batches`` goes through a set once, padded and
masked.
"""

from gen_jax.data.agreement import check_splits
from gen_jax.data.batches import Batches, EvaluationBatches, evaluation_batches
from gen_jax.data.dataset import AnyDataset, ArrayDataset, Dataset, part, some, spread
from gen_jax.data.errors import DataError
from gen_jax.data.example import ExampleSpec
from gen_jax.data.loading import load, load_audio
from gen_jax.data.pictures.stream import StreamDataset
from gen_jax.data.sounds.wav import read_wav, write_wav
from gen_jax.data.sounds.windows import AudioDataset

__all__ = [
    "AnyDataset",
    "ArrayDataset",
    "AudioDataset",
    "Batches",
    "DataError",
    "Dataset",
    "EvaluationBatches",
    "ExampleSpec",
    "StreamDataset",
    "check_splits",
    "evaluation_batches",
    "load",
    "load_audio",
    "part",
    "read_wav",
    "some",
    "spread",
    "write_wav",
]
