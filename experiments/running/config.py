"""The options that every experiment shares."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import optax

from experiments.running.options import (
    UsageError,
    dashed,
    free,
    length,
    require_at_least,
    require_seed,
)

Labels = Literal["unused", "optional", "required"]


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
    accept_changed_data: bool = free(False, before=False)
    """Resume a run whose data has changed since it was started."""
    seed: int = 0
    """Everything random follows from it: initialization, noise, order of the data."""
    quiet: bool = free(False)
    """No progress on the terminal."""

    def __post_init__(self):
        require_seed(self.seed)
        require_at_least(1, self, "image_size")
        if not 0.0 <= self.validation_fraction < 1.0:
            raise UsageError(
                f"--validation-fraction must lie in [0, 1), got {self.validation_fraction}"
            )

    @property
    def labels(self) -> Labels:
        """Whether the model reads labels: always, or where there are some."""
        return "unused"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(DataConfig):
    """What to train on, for how long, and where it goes."""

    steps: int | None = length()
    """Train until this step; another way to say --epochs."""
    epochs: float | None = length()
    """Train for so many passes over the training images."""
    batch_size: int = 128
    """Images an update, over all devices."""
    learning_rate: float = 1e-3
    decay_epochs: float | Literal["run"] | None = None
    """Let the learning rate fall along a cosine, to zero after so many epochs; with "run", over the
    length that the run is first started with. Default constant."""
    ema_decay: float | None = None
    """Evaluate and sample with an average of the parameters that decays so much a step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in; parameters, last layers and losses stay float32."""

    steps_per_dispatch: int = free(50)
    """At most so many steps in one compiled call; fewer where their batches are large."""
    compile: Literal["jit", "pmap"] = free("jit")
    """How the step is spread over devices."""
    evaluations: int = free(8)
    """How often the run looks at validation data, samples, and saves a checkpoint."""
    checkpoint_every: int = free(5000)
    """Save a checkpoint after so many steps too."""
    keep: int = free(3)
    """Checkpoints kept, besides the best."""

    coordinator: str | None = free(None)
    """HOST:PORT of process 0, for a run of several processes that no cluster manager starts."""
    num_processes: int | None = free(None)
    process_id: int | None = free(None)
    distributed: bool = free(False)
    """Several hosts whose cluster (TPU pod, SLURM, ...) JAX detects by itself."""

    def __post_init__(self):
        super().__post_init__()
        names = ("batch_size", "steps_per_dispatch", "evaluations", "checkpoint_every", "keep")
        require_at_least(1, self, *names)
        for name in ("steps", "epochs", "learning_rate", "decay_epochs"):
            value = getattr(self, name)
            if value in (None, "run"):
                continue
            if not (value > 0 and math.isfinite(value)):
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

    def total_steps(self, n_examples: int) -> int:
        """The step at which training ends, for a training set of ``n_examples``."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None, "a preset says how long it trains"
        return max(1, round(self.epochs * n_examples / self.examples_per_step))

    def decay_steps(self, n_examples: int) -> int | None:
        """Steps after which the learning rate is zero; None where it is constant."""
        if self.decay_epochs is None:
            return None
        assert self.decay_epochs != "run", "settled by ``with_decay`` before it is used"
        return max(1, round(self.decay_epochs * n_examples / self.examples_per_step))

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step, for a training set of ``n_examples``."""
        steps = self.decay_steps(n_examples)
        if steps is None:
            return optax.constant_schedule(self.learning_rate)
        return optax.cosine_decay_schedule(self.learning_rate, steps)

    def with_decay(self, saved: Any, n_examples: int) -> "RunConfig":
        """The config with its decay as a number of epochs, where it is that of the run's length:
        of the ``saved`` config's run where there is one, and else of this one."""
        if self.decay_epochs != "run":
            return self
        epochs = self.total_steps(n_examples) * self.examples_per_step / n_examples
        if saved is not None and saved.decay_epochs is not None:
            epochs = saved.decay_epochs
        return dataclasses.replace(self, decay_epochs=epochs)
