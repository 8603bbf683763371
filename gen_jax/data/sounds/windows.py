"""Sounds of any lengths, and the windows of one length that models learn from."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Int, Int16

from gen_jax.data.dataset import numbered, relabelling
from gen_jax.data.digests import digest
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples, ExampleSpec


@dataclasses.dataclass(frozen=True)
class AudioOptions:
    """What sounds are to become: at what sample rate, and whether others are resampled or refused.

    ``label`` is which feature of a TFDS set is the class.
    """

    sample_rate: int
    resample: bool = False
    label: str = "label"


@dataclasses.dataclass(frozen=True)
class Sounds:
    """One split's whole sounds, one after the other in one array: what is parted into splits.

    ``spans`` are the first sample and the end of each sound; ``origin`` is the digest of what they
    were made from. A window belongs to one sound, and so to one split.
    """

    name: str
    split: str
    samples: Int16[np.ndarray, " total"]
    spans: Int[np.ndarray, "n first_and_end"]
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...] | None
    sample_rate: int
    origin: str

    @classmethod
    def join(
        cls,
        name: str,
        split: str,
        sounds: Sequence[Int16[np.ndarray, " samples"]],
        labels: Int[np.ndarray, " n"] | None,
        class_names: tuple[str, ...] | None,
        sample_rate: int,
        origin: str,
    ) -> Self:
        return cls(
            name,
            split,
            np.concatenate(sounds),
            spans([len(sound) for sound in sounds]),
            labels,
            class_names,
            sample_rate,
            origin,
        )

    def __len__(self) -> int:
        return len(self.spans)

    def select(self, indices: Int[np.ndarray, " m"] | None, split: str) -> Self:
        if indices is None:
            return dataclasses.replace(self, split=split)
        labels = None if self.labels is None else self.labels[indices]
        return dataclasses.replace(self, split=split, spans=self.spans[indices], labels=labels)

    def windows(self, length: int) -> "AudioDataset":
        """Each sound cut from its beginning into windows of ``length`` samples; what is left at its
        end is not used. Raises ``DataError`` where no sound is that long."""
        first, end = self.spans.T
        counts = (end - first) // length
        if not counts.any():
            longest = int((end - first).max(initial=0))
            raise DataError(
                f"{self.name}: no sound of its {self.split} split is as long as a window of "
                f"{length} samples at {self.sample_rate} Hz; the longest has {longest}"
            )
        sound = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(sound)) - np.repeat(np.cumsum(counts) - counts, counts)
        return AudioDataset(
            self.name,
            self.split,
            self.samples,
            first[sound] + length * number,
            length,
            None if self.labels is None else self.labels[sound],
            class_names=self.class_names,
            sample_rate=self.sample_rate,
            skipped=int((counts == 0).sum()),
            origin=self.origin,
        )


class AudioDataset:
    """Windows of one length in an array of sound, in memory or memory-mapped.

    Window i is ``samples[starts[i] : starts[i] + length]``, [length, 1]. ``skipped`` counts sounds
    that were shorter; labels, names and ``origin`` are those of ``ArrayDataset``.
    """

    def __init__(
        self,
        name: str,
        split: str,
        samples: Int16[np.ndarray, " total"],
        starts: Int[np.ndarray, " n"],
        length: int,
        labels: Int[np.ndarray, " n"] | None = None,
        *,
        sample_rate: int,
        class_names: tuple[str, ...] | None = None,
        skipped: int = 0,
        origin: str | None = None,
    ):
        self.name = name
        self.split = split
        self.length = length
        self.labels, self.class_names = numbered(name, labels, class_names)
        self.sample_rate = sample_rate
        self.skipped = skipped
        self._samples = np.asarray(samples)  # a plain view: indexing a np.memmap costs more
        self._starts = starts
        self._origin = origin

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def example_spec(self) -> ExampleSpec:
        return ExampleSpec("audio", (self.length, 1), self.class_names)

    @property
    def digest(self) -> str:
        starts = np.asarray(self._starts, np.int64)
        about = [self.length, self.sample_rate, self.class_names]
        return digest(self._content, starts, about)

    @functools.cached_property
    def _content(self) -> str:
        return self._origin or digest(self._samples, self.labels)

    @functools.cached_property
    def audio(self) -> Int16[np.ndarray, "n time one"]:
        """All windows, in order (a copy)."""
        return self.take(np.arange(len(self)))["audio"]

    def take(self, indices: Int[np.ndarray, " n"]) -> Examples:
        places = self._starts[indices][:, None] + np.arange(self.length)
        examples = {"audio": np.take(self._samples, places)[..., None]}
        if self.labels is not None:
            examples["label"] = np.take(self.labels, indices)
        return examples

    def select(self, indices: Int[np.ndarray, " n"] | None, split: str) -> "AudioDataset":
        rows = slice(None) if indices is None else indices
        labels = None if self.labels is None else self.labels[rows]
        return self._with(split, self._starts[rows], labels, self.class_names)

    def with_classes(self, class_names: Sequence[str]) -> "AudioDataset":
        new = relabelling(self, class_names)
        return self._with(self.split, self._starts, new[self.labels], tuple(class_names))

    def _with(
        self,
        split: str,
        starts: Int[np.ndarray, " n"],
        labels: Int[np.ndarray, " n"] | None,
        class_names: tuple[str, ...] | None,
    ) -> "AudioDataset":
        return AudioDataset(
            self.name,
            split,
            self._samples,
            starts,
            self.length,
            labels,
            sample_rate=self.sample_rate,
            class_names=class_names,
            skipped=self.skipped,
            origin=self._origin,
        )


def spans(lengths: Sequence[int]) -> Int[np.ndarray, "n first_and_end"]:
    """The first sample and the end of sounds that stand one after the other."""
    ends = np.cumsum(np.asarray(lengths, np.int64))
    return np.stack([ends - lengths, ends], axis=1)


def at_rate(
    sound: Int16[np.ndarray, "samples *channels"], rate: int, options: AudioOptions, where: str
) -> Int16[np.ndarray, " samples"]:
    """Mixes to one channel at the sample rate of ``options``.

    Raises ``DataError`` for another ``rate``, unless it may be resampled.
    """
    mono = sound.astype(np.float32)
    if sound.ndim == 2:
        mono = mono.mean(axis=1)
    if rate != options.sample_rate:
        if not options.resample:
            raise DataError(
                f"{where} has a sample rate of {rate} Hz, not {options.sample_rate} Hz; set "
                f"sample_rate={rate} or resample=True"
            )
        from scipy import signal

        common = math.gcd(rate, options.sample_rate)
        mono = signal.resample_poly(mono, options.sample_rate // common, rate // common)
    return np.clip(np.round(mono), -(2**15), 2**15 - 1).astype(np.int16)
