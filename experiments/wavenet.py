"""WaveNet on raw audio: likelihood, and sounds drawn sample by sample.

python -m experiments.wavenet                     # plucked strings, conditioned on their pitch
python -m experiments.wavenet --dataset folder:recordings --sample-rate 16000 --resample
python -m experiments.wavenet paper --dataset tfds:vctk/mic1 --data-dir DIR
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import jax
import numpy as np
import optax

from experiments.pixels.sampler import Sampler
from experiments.running.config import Labels, RunConfig, of_source
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, free, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import autoregressive, data, densities, evaluation, reporting, training
from gen_jax.densities import MuLaw, Sequential
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

HALF_A_SEMITONE = 2.0 ** (1.0 / 24.0) - 1.0  # 3 %


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train and evaluate a WaveNet."""

    former_fields: ClassVar = ("image_size", "channels", "skip_bad_images")

    dataset: str = "strings"
    """strings (plucked, of 12 pitches, made here), folder:PATH of WAV files, tfds:NAME."""
    sample_rate: int = 8000
    """Samples per second."""
    resample: bool = of_source(False, "folder:", "tfds:")
    """Resample what was recorded at another rate, instead of refusing it."""
    length: int = 1000
    """Samples of a training window."""
    label: str = of_source("label", "tfds:")
    """Which feature of a TFDS set is the class."""
    class_conditional: bool = True
    """Model p(sound | class), where there are classes."""

    likelihood: Literal["categorical", "mixture"] = "categorical"
    """categorical: each level for itself; mixture: a discretized mixture of logistics."""
    levels: int = 256
    """Levels of the mu-law by which sound is quantized."""
    stacks: int = 1
    layers: int = 8
    """Layers of a stack: the last is dilated by 2^(layers - 1)."""
    features: int = 32
    skip_features: int = 64
    first_kernel: int = 2
    batch_size: int = 4
    """Windows per step, over all devices."""
    clip_norm: float = 1.0
    """Gradients longer than this are scaled down to it."""
    seconds: float = free(1.0)
    """Length of the sounds that are drawn."""
    draws: int = free(4)
    """Sounds drawn of each class to measure their pitch; without classes, in all."""
    chunk: int = free(24)
    """Sounds drawn at a time."""

    def __post_init__(self):
        super().__post_init__()
        names = ("sample_rate", "length", "stacks", "layers", "features", "skip_features")
        require_at_least(1, self, *names, "first_kernel", "draws", "chunk")
        if not 2 <= self.levels <= 256:
            raise UsageError(f"--levels must lie in 2..256, got {self.levels}")
        if not self.clip_norm > 0.0:
            raise UsageError(f"--clip-norm must be positive, got {self.clip_norm}")
        if not 0.05 <= self.seconds <= 3600.0:
            raise UsageError(f"--seconds must lie in 0.05..3600, got {self.seconds}")

    @property
    def labels(self) -> Labels:
        return "optional" if self.class_conditional else "unused"

    def density(self) -> Sequential:
        """The likelihood that the options name."""
        if self.likelihood == "categorical":
            return densities.Categorical(self.levels, MuLaw())
        return densities.LogisticMixture(levels=self.levels, encoding=MuLaw())

    @property
    def drawn_length(self) -> int:
        """Samples of a drawn sound."""
        return round(self.seconds * self.sample_rate)


PRESETS = {
    "smoke": Config(
        steps=12,
        length=250,
        layers=2,
        features=8,
        skip_features=8,
        evaluations=2,
        seconds=0.1,
        draws=1,
        chunk=12,
    ),
    "default": Config(
        steps=7500,
        learning_rate=8e-3,
        decay_epochs="run",
        ema_decay=0.99,
        steps_per_dispatch=25,
        evaluations=6,
    ),
    "paper": Config(
        dataset="tfds:vctk/mic1",
        label="speaker",
        sample_rate=16_000,
        resample=True,
        length=16_000,
        stacks=3,
        layers=10,
        features=256,
        skip_features=256,
        batch_size=8,
        steps=200_000,
        ema_decay=0.9999,
        seconds=4.0,
    ),
}


def open_sounds(config: Config, split: str) -> data.AudioDataset:
    """One part of the config's windows of sound."""
    return data.load_audio(
        config.dataset,
        split,
        data_dir=config.data_dir,
        sample_rate=config.sample_rate,
        length=config.length,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        resample=config.resample,
        label=config.label,
    )


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    names = spec.class_names if config.class_conditional else None
    n_classes = None if names is None else len(names)
    model = autoregressive.WaveNet(
        config.density(),
        stacks=config.stacks,
        layers=config.layers,
        features=config.features,
        skip_features=config.skip_features,
        first_kernel=config.first_kernel,
        n_classes=n_classes,
        dtype=config.compute_dtype,
    )
    key_init, key_film, key_test = jax.random.split(jax.random.key(config.seed), 3)
    adam = optax.adam(config.rate(n_examples))
    tx = optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)
    eval_step = training.compile_eval(autoregressive.eval_step)
    sampler = Sampler((config.drawn_length, 1), n_classes, config.chunk)
    listener = Listener(names, config.sample_rate)

    def init(train: data.AnyDataset) -> TrainState:
        example = data.some(train, 1)
        cond = None if names is None else example["label"]
        start = functools.partial(autoregressive.init, model, tx, ema_decay=config.ema_decay)
        return training.compile_once(start)(jax.random.clone(key_init), example["audio"], cond=cond)

    def score(state: TrainState, dataset: data.AudioDataset) -> Mapping[str, float]:
        batches = data.evaluation_batches(dataset, 16)
        return evaluation.average(eval_step, state, batches)

    def test(state: TrainState, dataset: data.AudioDataset) -> Mapping[str, float | str]:
        means = score(state, dataset)
        metrics: dict[str, float | str] = {f"test/{name}": means[name] for name in means}
        metrics["test/nats_per_second"] = means["nll"] * config.sample_rate / config.length
        if listener.pitches is not None:
            sounds, labels = of_each_class(sampler, key_test, state, config.draws)
            metrics["test/pitch_right"] = float(np.mean(listener.is_right(sounds, labels)))
        metrics["likelihood"] = f"{config.likelihood} over {config.levels} levels of mu-law"
        return metrics

    return Setup(
        init=init,
        train_step=autoregressive.train_step,
        validate=lambda state, splits: score(state, splits.validation),
        film=lambda state, splits: film(sampler, jax.random.fold_in(key_film, 0), state),
        test=test,
        pictures=lambda state, splits, run_dir: add_sounds(
            sampler, listener, key_test, state, config.draws, run_dir
        ),
        draw=sampler,
        sample_rate=config.sample_rate,
        best=("nll", "min"),
    )


def of_each_class(
    sampler: Sampler, key: PRNGKey, state: TrainState, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """``n`` sounds [n_classes * n, T, 1] of each class (or ``n`` in all), class after class, and
    their labels."""
    label = np.repeat(np.arange(sampler.n_classes or 1), n)
    cond = None if sampler.n_classes is None else label
    return sampler(key, state, len(label), label=cond, quiet=True), label


def film(sampler: Sampler, key: PRNGKey, state: TrainState) -> np.ndarray:
    """Spectrograms of a few sounds, as images: the loudest is white."""
    sounds = sampler(key, state, sampler.chunk, quiet=True)
    levels = np.stack([reporting.plots.spectrogram(sound)[::-1] for sound in sounds[..., 0]])
    return np.round(255.0 * np.clip(1.0 + levels / 60.0, 0.0, 1.0)).astype(np.uint8)[..., None]


@dataclasses.dataclass(frozen=True)
class Listener:
    """Finds the pitch of sounds, and whether it is that of their class."""

    class_names: tuple[str, ...] | None
    sample_rate: int

    @property
    def pitches(self) -> np.ndarray | None:
        """The pitch of each class, Hz, where their names end with it: "A3 220.0 Hz"."""
        found = [re.search(r"([\d.]+) Hz$", name) for name in self.class_names or ()]
        pitches = [float(match[1]) for match in found if match is not None]
        return np.array(pitches) if pitches and len(pitches) == len(found) else None

    def heard(self, sounds: np.ndarray) -> np.ndarray:
        """The pitch of each sound, Hz; NaN where it has none."""
        rate = self.sample_rate
        highest = min(1000.0, rate / 4.0)
        return np.array([evaluation.find_pitch(x, rate, highest=highest) for x in sounds[..., 0]])

    def is_right(self, sounds: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which sounds have the pitch of their class, within half a semitone."""
        assert self.pitches is not None
        off = np.abs(np.log(self.heard(sounds) / self.pitches[labels]))
        return off < np.log1p(HALF_A_SEMITONE)  # no pitch is a wrong one


def add_sounds(
    sampler: Sampler,
    listener: Listener,
    key: PRNGKey,
    state: TrainState,
    n: int,
    run_dir: Path,
) -> None:
    """Writes a WAV file of each class, and adds their spectrograms and pitches to the report."""
    n = n if listener.pitches is not None or listener.class_names is None else 1
    sounds, labels = of_each_class(sampler, key, state, n)
    names = listener.class_names or tuple(f"sound {i}" for i in range(n))
    first = sounds[::n] if listener.class_names else sounds
    for i, (name, sound) in enumerate(zip(names, first, strict=True)):
        file = re.sub("[^A-Za-z0-9.]+", "-", name.replace("#", "-sharp")).strip("-.")
        data.write_wav(run_dir / "audio" / f"{i:02}-{file}.wav", sound, listener.sample_rate)
    shown = slice(0, 24)
    reporting.add_picture(
        run_dir,
        "spectrograms",
        reporting.plots.spectrograms(first[shown, :, 0], listener.sample_rate, names=names[shown]),
        title="Sounds",
        caption="Drawn sample by sample from the model"
        + (", given the class" if listener.class_names else "")
        + f"; {len(first)} of them are in the run's folder audio.",
    )
    if listener.pitches is None:
        return
    heard = listener.heard(sounds).reshape(-1, n)
    right = listener.is_right(sounds, labels).reshape(-1, n)
    reporting.add_table(
        run_dir,
        "pitches",
        ("class", "target [Hz]", "measured [Hz]", "off [%]", f"right of {n}"),
        [
            (
                name,
                target,
                *((None, None) if np.isnan(one) else (one, 100.0 * (one / target - 1.0))),
                count,
            )
            for name, target, one, count in zip(
                names, listener.pitches, heard[:, 0], right.sum(1), strict=True
            )
        ],
        title="Pitches",
        caption="Of the first sound of each class, by YIN (none where it has no clear period), and "
        f"how many of {n} are right within half a semitone (3 %).",
    )


EXPERIMENT = Training("wavenet", __doc__, PRESETS, build=build, open=open_sounds, splits_cpu=True)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
