"""PixelCNN, Gated PixelCNN and PixelCNN++: exact likelihoods, samples, completions.

python -m experiments.pixelcnn
python -m experiments.pixelcnn --model masked
python -m experiments.pixelcnn paper --model plus-plus --data-dir DIR
python -m experiments.pixelcnn --task colorize --beside runs/pix2pix/default-colorize

The default, a class-conditional Gated PixelCNN on mnist-subset, reaches 85.3 nats an image
(dynamic binarization, 2,000 test images) in 432 s on two x86 cores. With a task, a PixelCNN++ draws
images from what is left of them: several answers for each source, and their likelihoods.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.pixels.completion_setup import completion_setup
from experiments.pixels.completions import Completer
from experiments.pixels.models import DEFAULT, PAPER, SMOKE, PixelConfig, build
from experiments.running.experiment import open_images
from experiments.running.fitting import Setup, Training
from experiments.running.options import ByChoice, UsageError, require_at_least, when, where
from experiments.running.run import run
from experiments.running.terminal import main
from experiments.translation.tasks import TASKS
from gen_jax import autoregressive, data
from gen_jax.autoregressive import Network
from gen_jax.densities import Sequential

MASKED = ("gated", "masked")
Completion = Literal["colorize", "super-resolve-2", "super-resolve-4", "inpaint"]


def with_task(default: Any, **metadata: object) -> Any:
    """A field that applies only where images are drawn from others."""
    return where(default, lambda config: config.task != "none", "a --task", **metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PixelConfig):
    """Train and evaluate a PixelCNN."""

    task: Literal["none", Completion] = dataclasses.field(
        default="none", metadata={"before": "none"}
    )
    """What images are drawn from: nothing (none), or what is left of them, as for pix2pix."""
    class_conditional: bool = when(False, task="none")
    """Model p(x | class): samples by class, and classes by likelihood."""
    model: Literal["gated", "masked", "plus-plus"] = "gated"
    layers: int = when(7, model=MASKED)
    head_features: int = when(64, model=MASKED)
    """Maps between the last layer and the outputs."""
    first_kernel: int = when(7, model=MASKED)
    kernel: int = when(3, model=MASKED)
    """Side of the kernels after the first."""
    blocks: int = when(2, model="plus-plus")
    """Residual blocks of each stage."""
    stages: int = when(3, model="plus-plus")
    """Stages, each at half the size of the one before."""
    dropout: float = when(0.5, model="plus-plus")
    decay_rate: float = when(1.0, model="plus-plus")
    """What the learning rate is multiplied by at every step."""
    encoder: Literal["unet", "residual", "none"] = with_task("unet")
    """What reads the whole source for every pixel; none: a pixel sees the source only where it also
    sees the image."""
    encoder_features: int = where(
        32,
        lambda config: config.task != "none" and config.encoder != "none",
        "a --task, with an --encoder other than none",
    )
    """Maps of the encoder."""
    compared_images: int = where(
        500, lambda config: config.task == "none", "--task none", identity=False
    )
    """Test images compared by class, and with outliers, from all over the set."""
    completed_images: int = with_task(64, identity=False)
    """Test images that are completed and measured, from all over the set."""
    draws: int = with_task(16, identity=False)
    """Images drawn for each of them."""
    beside: Path | None = with_task(None, identity=False)
    """A pix2pix run of the same task, whose translations are measured and shown too."""

    def __post_init__(self):
        super().__post_init__()
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise UsageError(f"--kernel must be odd and 3 or more, got {self.kernel}")
        require_at_least(1, self, "blocks", "stages", "encoder_features", "draws")
        require_at_least(2, self, "completed_images")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"--dropout must lie in [0, 1), got {self.dropout}")
        if not 0.0 < self.decay_rate <= 1.0:
            raise UsageError(f"--decay-rate must lie in (0, 1], got {self.decay_rate}")

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step, for a training set of ``n_examples``."""
        rate = super().rate(n_examples)
        return lambda step: jnp.asarray(rate(step)) * self.decay_rate**step


def by_task(usual: Config, **options: Any) -> ByChoice[Config]:
    """A preset without a task, and one for each, on data that suits it."""
    tasks = {
        name: Config(
            task=name,
            dataset=TASKS[name].dataset,
            model="plus-plus",
            likelihood="mixture",
            batch_size=16,
            dropout=0.0,
            **options,
        )
        for name in get_args(Completion)
    }
    return ByChoice("task", {"none": usual, **tasks})


PRESETS = {
    "smoke": by_task(
        Config(**SMOKE, layers=2, features=8),
        steps=2,
        blocks=1,
        stages=1,
        features=4,
        encoder_features=4,
        evaluations=1,
        validation_images=16,
        nll_images=16,
        completed_images=4,
        draws=3,
        chunk=12,
    ),
    "default": by_task(
        Config(**DEFAULT),
        steps=700,
        learning_rate=2e-3,
        decay_epochs="run",
        ema_decay=0.99,
        steps_per_dispatch=5,
        evaluations=4,
        validation_images=96,
        blocks=1,
        features=32,
    ),
    "paper": ByChoice(
        "model",
        {
            "gated": Config(**PAPER, batch_size=32, layers=10, features=128, head_features=128),
            # Salimans et al. 2017, with the sizes of their code: 2.92 bits/dim.
            "plus-plus": Config(
                model="plus-plus",
                dataset="tfds:cifar10",
                likelihood="mixture",
                blocks=5,
                features=160,
                batch_size=128,
                learning_rate=1e-3,
                epochs=5000,
                decay_rate=0.999995,
                ema_decay=0.9995,
                clip_norm=None,
            ),
        },
    ),
}


def make_model(config: Config, likelihood: Sequential, n_classes: int | None) -> Network:
    """The network that a config asks for."""
    shared = {
        "n_classes": n_classes,
        "condition": make_encoder(config),
        "dtype": config.compute_dtype,
    }
    if config.model == "plus-plus":
        return autoregressive.PixelCNNPlusPlus(
            likelihood,
            blocks=config.blocks,
            stages=config.stages,
            features=config.features,
            dropout_rate=config.dropout,
            **shared,
        )
    shared |= {
        "layers": config.layers,
        "features": config.features,
        "kernel": config.kernel,
        "first_kernel": config.first_kernel,
    }
    if config.model == "masked":
        return autoregressive.PixelCNN(likelihood, head_features=config.head_features, **shared)
    return autoregressive.GatedPixelCNN(likelihood, skip_features=config.head_features, **shared)


def make_encoder(config: Config) -> nn.Module | None:
    """What reads the source; None where there is none, or where each pixel of it is mapped."""
    if config.task == "none" or config.encoder == "none":
        return None
    kind = {"unet": autoregressive.UNetEncoder, "residual": autoregressive.ResidualEncoder}
    return kind[config.encoder](config.encoder_features, dtype=config.compute_dtype)


def build_any(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """The setup of a model of images, or of one that completes them."""
    if config.task == "none":
        return build(config, spec, n_examples, make_model)
    task = TASKS[config.task]
    completer = Completer(spec.shape[-1], task.hides, config.chunk)
    setup = build(config, spec, n_examples, make_model, completer.hidden)
    return completion_setup(setup, config, spec, task, completer)


def open_any(config: Config, split: str) -> data.Dataset:
    """One part of the config's images, or of the pairs that its task makes of them."""
    if config.task == "none":
        return open_images(config, split)
    return TASKS[config.task].open(config, split, reverse=False)


EXPERIMENT = Training("pixelcnn", __doc__, PRESETS, build=build_any, open=open_any, splits_cpu=True)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
