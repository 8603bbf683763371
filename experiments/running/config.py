"""The options that every experiment shares."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import optax

from experiments.running.arguments import Hidden
from experiments.running.options import (
    UsageError,
    free,
    length,
    require_at_least,
    require_positive,
    require_seed,
    where,
)

Labels = Literal["unused", "optional", "required"]
EARLIER = 0  # ``decay_steps`` of runs saved when every schedule was given in epochs


def with_coordinator() -> Any:
    """A free field that applies only where a coordinator is named."""
    return where(
        None, lambda config: config.coordinator is not None, "--coordinator", identity=False
    )


def of_source(default: Any, *beginnings: str, **metadata: object) -> Any:
    """A field that applies only to data sets whose SPEC begins so: ``tfds:``, ``folder:``."""

    def matches(config: Any) -> bool:
        return config.dataset.startswith(beginnings)

    reason = " or ".join(f"--dataset {beginning}..." for beginning in beginnings)
    return where(default, matches, reason, **metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """What every experiment has: a folder, and a seed."""

    run_dir: Path | None = free(None)
    """The run's folder, where the same command resumes; default runs/EXPERIMENT/PRESET, followed by
    the task or pair unless it is the first, and by the data set unless it is the preset's."""
    seed: int = 0
    """Everything random follows from it: initialization, noise, order of the data."""
    quiet: bool = free(False)
    """No progress on the terminal."""

    def __post_init__(self):
        require_seed(self.seed)

    @property
    def source(self) -> str:
        """The name of the data."""
        raise NotImplementedError  # a subclass's


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(BaseConfig):
    """What data to work on."""

    dataset: str
    data_dir: Path | None = of_source(None, "tfds:", identity=False)
    """Folder of prepared TFDS data sets."""
    validation_fraction: float = 0.1
    """Share of the training examples held out where the source has no validation split."""
    accept_changed_data: bool = free(False, before=False)
    """Resume a run whose data has changed since it was started."""

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 <= self.validation_fraction < 1.0:
            raise UsageError(
                f"--validation-fraction must lie in [0, 1), got {self.validation_fraction}"
            )

    @property
    def source(self) -> str:
        return self.dataset

    @property
    def labels(self) -> Labels:
        """Whether the model reads labels: always, or where there are some."""
        return "unused"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(DataConfig):
    """What images to work on."""

    dataset: str = "mnist-subset"
    """mnist-subset and emoji[:64][:noto|:twemoji] (shipped), digits-8x8, photos[:SIZE], faces-mini,
    tfds:NAME, folder:PATH, or npz:PATH."""
    data_dir: Path | None = of_source(None, "tfds:", "emoji:64", identity=False)
    """Folder of prepared TFDS data sets, or of the large emoji."""
    image_size: int | None = None
    """Resize and crop images to this side; needed where they differ in size."""
    channels: Literal[1, 3] | None = None
    """Make images gray (1) or RGB (3); needed where they differ."""
    skip_bad_images: bool = of_source(False, "folder:", "tfds:")
    """Count and leave out images of a folder that cannot be read, instead of stopping."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "image_size")

    @property
    def opening(self) -> dict[str, Any]:
        """The options of ``data.load``, ``load_pairs`` and ``load_domains``."""
        names = ("data_dir", "image_size", "channels", "validation_fraction", "seed")
        return {name: getattr(self, name) for name in (*names, "skip_bad_images")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(DataConfig):
    """How a model is trained, and for how long."""

    steps: int | None = length()
    """Train until this step; another way to say --epochs."""
    epochs: float | None = length()
    """Train for this many passes over the training examples."""
    batch_size: int = 128
    """Examples per update, over all devices."""
    learning_rate: float = 1e-3
    decay_epochs: float | Literal["run"] | None = None
    """Let the learning rate fall along a cosine, to zero after this many epochs; with "run", over
    the length that the run is first started with. Default constant."""
    decay_steps: Hidden[int | None] = dataclasses.field(default=None, metadata={"before": EARLIER})
    """With --decay-epochs run: the length that the run was first started with."""
    ema_decay: float | None = None
    """Evaluate and sample with an exponential moving average of the parameters, with this decay per
    step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What networks compute in; parameters, last layers and losses stay float32."""

    steps_per_dispatch: int = free(50)
    """At most this many steps in one compiled call; fewer where their batches are large."""
    compile: Literal["jit", "pmap"] = free("jit")
    """How the step is spread over devices."""
    evaluations: int = free(8)
    """Number of times the run evaluates on validation data, samples, and saves a checkpoint."""
    checkpoint_every: int = free(5000)
    """Also save a checkpoint every this many steps."""
    keep: int = free(3)
    """Checkpoints kept, besides the best."""

    coordinator: str | None = free(None)
    """HOST:PORT of process 0, for a run of several processes that no cluster manager starts."""
    num_processes: int | None = with_coordinator()
    process_id: int | None = with_coordinator()
    distributed: bool = free(False)
    """Several hosts whose cluster (TPU pod, SLURM, ...) JAX detects by itself."""

    def __post_init__(self):
        super().__post_init__()
        names = ("batch_size", "steps_per_dispatch", "evaluations", "checkpoint_every", "keep")
        require_at_least(1, self, *names)
        lengths = () if self.decay_epochs == "run" else ("decay_epochs",)
        require_positive(self, "steps", "epochs", "learning_rate", *lengths)
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

    def decay_span(self, n_examples: int) -> int | None:
        """Steps after which the learning rate is zero; None where it is constant."""
        if self.decay_epochs is None:
            return None
        if self.decay_epochs == "run":
            assert self.decay_steps is not None, "``with_decay`` comes first"
            return self.decay_steps
        return max(1, round(self.decay_epochs * n_examples / self.examples_per_step))

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step, for a training set of ``n_examples``."""
        span = self.decay_span(n_examples)
        if span is None:
            return optax.constant_schedule(self.learning_rate)
        return optax.cosine_decay_schedule(self.learning_rate, span)

    def with_decay(self, saved: Any, n_examples: int) -> "RunConfig":
        """The config with ``decay_steps`` where the decay is that of the run's length: as in the
        ``saved`` config of an earlier start, and else the length of this one."""
        if saved is not None and saved.decay_steps == EARLIER:
            epochs = saved.decay_epochs if self.decay_epochs == "run" else self.decay_epochs
            return dataclasses.replace(self, decay_epochs=epochs, decay_steps=EARLIER)
        if self.decay_epochs != "run":
            return self
        steps = self.total_steps(n_examples)
        if saved is not None and saved.decay_epochs == "run":
            steps = saved.decay_steps
        return dataclasses.replace(self, decay_steps=steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRunConfig(ImageConfig, RunConfig):
    """How a model of images is trained."""
