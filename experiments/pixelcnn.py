"""PixelCNN, Gated PixelCNN and PixelCNN++: exact likelihoods, samples, completions.

python -m experiments.pixelcnn
python -m experiments.pixelcnn --model masked
python -m experiments.pixelcnn --model plus-plus --likelihood mixture --dataset tfds:cifar10 ...

The default, a class-conditional Gated PixelCNN on mnist-subset, reaches 85.3 nats an image
(dynamic binarization, 2,000 test images) in 432 s on two x86 cores.
"""

import dataclasses
import functools
from typing import Literal

from experiments.pixels.models import DEFAULT, PAPER, SMOKE, PixelConfig, build
from experiments.running.config import UsageError, require_at_least
from experiments.running.harness import Experiment, main, run
from gen_jax import autoregressive
from gen_jax.autoregressive import Network
from gen_jax.densities import Sequential


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PixelConfig):
    """Train and evaluate a PixelCNN."""

    model: Literal["gated", "masked", "plus-plus"] = "gated"
    kernel: int = 3
    """Side of the kernels behind the first."""
    blocks: int = 2
    """Residual blocks of each stage, for plus-plus."""
    stages: int = 3
    """Stages of plus-plus, each at half the size of the one before."""
    dropout: float = 0.5
    """For plus-plus."""

    def __post_init__(self):
        super().__post_init__()
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise UsageError(f"--kernel must be odd and 3 or more, got {self.kernel}")
        require_at_least(1, self, "blocks", "stages")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"--dropout must lie in [0, 1), got {self.dropout}")


PRESETS = {
    "smoke": Config(**SMOKE, layers=2, features=8),
    "default": Config(**DEFAULT),
    "paper": Config(**PAPER, batch_size=32, layers=10, features=128, head_features=128),
}


def make_model(config: Config, likelihood: Sequential, n_classes: int | None) -> Network:
    """The network that a config asks for."""
    shared = {"n_classes": n_classes, "dtype": config.compute_dtype}
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


EXPERIMENT = Experiment(
    "pixelcnn", __doc__, PRESETS, functools.partial(build, make_model=make_model)
)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
