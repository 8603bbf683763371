"""The options that every experiment shares, and how a command line becomes them."""

import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax.numpy as jnp
import optax
import tyro


class UsageError(Exception):  # no ValueError: tyro would box those in its own words
    """A mistake of the user's on the command line; its text is one line for them to read."""


def free(default: Any) -> Any:
    """A field that does not make a run another run: changing it still resumes the same folder."""
    return dataclasses.field(default=default, metadata={"identity": False})


def length() -> Any:
    """A free field that says how long to train: what the command line gives takes the place of all
    the preset's."""
    return dataclasses.field(default=None, metadata={"identity": False, "length": True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What images to work on, and where the results go."""

    dataset: str = "mnist-subset"
    """mnist-subset (shipped), tfds:NAME, folder:PATH, npz:PATH, or faces-mini."""
    data_dir: Path | None = free(None)
    """Where prepared TFDS sets lie."""
    image_size: int | None = None
    """Resize and crop images to this side; needed where they differ in size."""
    channels: Literal[1, 3] | None = None
    """Make images gray (1) or RGB (3); needed where they differ."""
    validation_fraction: float = 0.1
    """Share of the training images held out where the source has no validation split."""
    skip_bad_images: bool = False
    """Count and leave out images of a folder that cannot be read, instead of stopping."""

    run_dir: Path | None = free(None)
    """The run's folder; default runs/EXPERIMENT/PRESET[-DATASET]. The same folder resumes."""
    seed: int = 0
    """Everything random follows from it: initialization, noise, order of the data."""
    quiet: bool = free(False)
    """No progress on the terminal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(DataConfig):
    """What to train on, for how long, and where it goes."""

    steps: int | None = length()
    """Train until this step; another way to say --epochs."""
    epochs: float | None = length()
    """Train for so many passes over the training images."""
    batch_size: int = 128
    """Images a step, over all devices."""
    learning_rate: float = 1e-3
    decay_epochs: float | None = None
    """Let the learning rate fall along a cosine, to zero after so many epochs; default constant."""
    ema_decay: float | None = None
    """Evaluate and sample with an average of the parameters that decays so much a step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in; parameters and losses stay float32."""

    steps_per_dispatch: int = free(50)
    """At most so many steps in one compiled call."""
    compile: Literal["jit", "pmap"] = free("jit")
    """How the step is spread over devices."""
    evaluations: int = free(8)
    """How often the run looks at validation data, samples, and saves a checkpoint."""
    checkpoint_every: int = free(5000)
    """Save a checkpoint after so many steps too."""
    keep: int = free(3)
    """Checkpoints kept, besides the best."""

    coordinator: str | None = free(None)
    """HOST:PORT of process 0, for a run of several processes that no cluster tells of itself."""
    num_processes: int | None = free(None)
    process_id: int | None = free(None)
    distributed: bool = free(False)
    """Several hosts whose cluster (TPU pod, SLURM, ...) JAX detects by itself."""

    def __post_init__(self):
        names = ("batch_size", "steps_per_dispatch", "evaluations", "checkpoint_every", "keep")
        require_at_least(1, self, *names)
        for name in ("steps", "epochs", "learning_rate", "decay_epochs"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"--{dashed(name)} must be positive, got {value}")
        if self.ema_decay is not None and not 0.0 <= self.ema_decay < 1.0:
            raise UsageError(f"--ema-decay must lie in [0, 1), got {self.ema_decay}")

    @property
    def compute_dtype(self) -> jnp.dtype:
        """The dtype that networks compute in."""
        return jnp.dtype(self.dtype)

    @property
    def examples_per_step(self) -> int:
        """Training examples that a step reads, over all devices."""
        return self.batch_size

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step, for a training set of ``n_examples``."""
        if self.decay_epochs is None:
            return optax.constant_schedule(self.learning_rate)
        steps = max(1, round(self.decay_epochs * n_examples / self.examples_per_step))
        return optax.cosine_decay_schedule(self.learning_rate, steps)

    def total_steps(self, n_examples: int) -> int:
        """The step at which training ends, for a training set of ``n_examples``."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None, "a preset says how long it trains"
        return max(1, round(self.epochs * n_examples / self.examples_per_step))


C = TypeVar("C")


def dashed(name: str) -> str:
    """A field's name as the command line writes it."""
    return name.replace("_", "-")


def require_at_least(least: int, options: Any, *names: str) -> None:
    """Raises ``UsageError`` where one of the named options is below ``least``; None passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{dashed(name)} must be {least} or more, got {value}")


def help_text(docstring: str | None) -> str:
    """A module's docstring as ``--help`` shows it: each example on a line of its own."""
    return re.sub(r"(?m)^(?=python -m )", "    ", docstring or "")


def parse(
    presets: Mapping[str, C],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str | None,
) -> tuple[str, C]:
    """Reads ``[PRESET] [--option value ...]`` and returns the preset's name and the config.

    Raises:
      UsageError: an unknown preset, or two options that say how long to train.
      SystemExit: ``--help``, or an option that does not exist (with what tyro says of it).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    name = "default"
    if args and not args[0].startswith("-"):
        name = args.pop(0)
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"no preset {name!r}{hint}; there are {', '.join(presets)}")
    preset: Any = presets[name]
    given = {arg.split("=")[0] for arg in args}
    fields = dataclasses.fields(preset)
    known = [field.name for field in fields if "length" in field.metadata]
    lengths = [f"--{name}" for name in known if f"--{name}" in given]
    if len(lengths) > 1:
        raise UsageError(f"{' and '.join(lengths)} say one thing: give one of them")
    if lengths:
        preset = dataclasses.replace(preset, **dict.fromkeys(known))
    about = f"{help_text(description).strip()}\n\nPresets: {', '.join(presets)} (first argument)."
    config = tyro.cli(type(preset), default=preset, args=args, prog=prog, description=about)
    return name, config
