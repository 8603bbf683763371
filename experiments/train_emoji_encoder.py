"""The classifier of emoji whose features the scores of colour pictures are made of.

python -m experiments.train_emoji_encoder

The run's folder holds ``emoji.safetensors``; the default preset made the one in
``gen_jax/evaluation``, and ``emoji.md`` there has its accuracy, time and hardware.
"""

import dataclasses
import functools

from experiments.recognition.augment import Augmentation
from experiments.recognition.training import ClassifierConfig, build
from experiments.running.fitting import Training
from experiments.running.options import require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax.evaluation import emoji


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ClassifierConfig):
    """Train and evaluate the classifier of emoji."""

    dataset: str = "emoji"
    """emoji (shipped), or other RGB images with its categories."""
    batch_size: int = 64
    learning_rate: float = 2e-3
    shift: float = 3.0
    rotation: float = 15.0
    zoom: float = 0.2
    elastic: float = 0.7
    tint: float = 0.1
    """Multiply each channel by a random factor: the standard deviation of its logarithm."""
    label_smoothing: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        require_at_least(0, self, "tint")

    @property
    def augmentation(self) -> Augmentation:
        return dataclasses.replace(
            super().augmentation,
            mirror=True,
            tint=self.tint,
            outside=1.0,  # emoji are laid on white
        )


PRESETS = {
    "smoke": Config(steps=40, batch_size=32, evaluations=1),
    "default": Config(epochs=30, decay_epochs="run", ema_decay=0.99),
}

EXPERIMENT = Training(
    "train_emoji_encoder", __doc__, PRESETS, build=functools.partial(build, emoji.KIND)
)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
