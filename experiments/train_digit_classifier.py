"""The digit classifier whose features and classes the scores of digits are made of.

python -m experiments.train_digit_classifier                                   # on shipped digits
python -m experiments.train_digit_classifier full --dataset tfds:mnist --data-dir DIR

The run's folder holds ``digits.safetensors``; ``full`` made the one in ``gen_jax/evaluation``, and
``digits.md`` there has its accuracy.
"""

import dataclasses
import functools

from experiments.recognition.training import ClassifierConfig, build
from experiments.running.fitting import Training
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax.evaluation import digits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ClassifierConfig):
    """Train and evaluate the digit classifier."""


PRESETS = {
    "smoke": Config(steps=40, batch_size=32, evaluations=1),
    "default": Config(epochs=15, decay_epochs="run", ema_decay=0.99),
    "full": Config(
        dataset="tfds:mnist",
        epochs=12,
        decay_epochs="run",
        ema_decay=0.999,
        validation_fraction=0.0,  # nothing is chosen by the images that it is watched on
    ),
}

EXPERIMENT = Training(
    "train_digit_classifier", __doc__, PRESETS, build=functools.partial(build, digits.KIND)
)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
