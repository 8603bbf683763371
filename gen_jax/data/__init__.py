"""Data sets, and batches of them as a pure function of the step.

``load`` opens a set of images by name, ``load_pairs`` one of images made from others,
``load_domains`` two domains of images, ``load_captions`` one of images with captions and
``load_audio`` a set of sounds; ``Mapped`` computes what
images are to be made from by one of the ``conditions``. ``Batches`` makes any training batch from
its step's number, ``evaluation_batches`` goes through a set once, padded and masked.
"""

from gen_jax.data.agreement import check_splits
from gen_jax.data.batches import Batches, EvaluationBatches, evaluation_batches
from gen_jax.data.captions.captioned import Captioned
from gen_jax.data.dataset import AnyDataset, ArrayDataset, Dataset, part, some, spread
from gen_jax.data.errors import DataError, UnknownSet
from gen_jax.data.example import ExampleSpec
from gen_jax.data.loading import load, load_audio, load_captions, load_domains, load_pairs
from gen_jax.data.pictures.stream import StreamDataset
from gen_jax.data.sounds.wav import read_wav, write_wav
from gen_jax.data.sounds.windows import AudioDataset
from gen_jax.data.translation import conditions
from gen_jax.data.translation.conditions import ImageCondition
from gen_jax.data.translation.domains import TwoDomains
from gen_jax.data.translation.pairs import Mapped, Paired

__all__ = [
    "AnyDataset",
    "ArrayDataset",
    "AudioDataset",
    "Batches",
    "Captioned",
    "DataError",
    "Dataset",
    "EvaluationBatches",
    "ExampleSpec",
    "ImageCondition",
    "Mapped",
    "Paired",
    "StreamDataset",
    "TwoDomains",
    "UnknownSet",
    "check_splits",
    "conditions",
    "evaluation_batches",
    "load",
    "load_audio",
    "load_captions",
    "load_domains",
    "load_pairs",
    "part",
    "read_wav",
    "some",
    "spread",
    "write_wav",
]
