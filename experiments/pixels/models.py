"""What the experiments with PixelCNNs and PixelRNNs share: options, training, and what is measured.

An experiment adds its networks (``build``'s ``make_model``); pictures are in ``pixel_pictures``.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
import optax

from experiments.pixels.pictures import add_pictures
from experiments.pixels.sampler import Sampler
from experiments.running.config import RunConfig, UsageError, free, require_at_least
from experiments.running.harness import Setup, Splits
from experiments.running.labels import count_classes
from gen_jax import autoregressive, data, densities, evaluation
from gen_jax.autoregressive import Network
from gen_jax.densities import Sequential
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

EXAMPLES = 32  # that a network's data-dependent start sees


SMOKE: dict[str, Any] = {
    "steps": 12,
    "batch_size": 16,
    "head_features": 8,
    "first_kernel": 3,
    "evaluations": 2,
    "validation_images": 32,
    "nll_images": 100,
    "compared_images": 20,
    "chunk": 10,
    "class_conditional": True,
}
DEFAULT: dict[str, Any] = {
    "steps": 900,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "decay_epochs": 3.2,
    "ema_decay": 0.99,
    "class_conditional": True,
    "steps_per_dispatch": 5,
    "evaluations": 6,
}
PAPER: dict[str, Any] = {
    "dataset": "tfds:mnist",
    "epochs": 100,
    "decay_epochs": 100,
    "ema_decay": 0.999,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelConfig(RunConfig):
    """What an autoregressive model of images is made of."""

    likelihood: Literal["bernoulli", "categorical", "mixture"] = "bernoulli"
    """bernoulli: black and white pixels; categorical: --levels each for itself; mixture: levels
    under a discretized mixture of logistics."""
    binarization: Literal["dynamic", "threshold"] = "dynamic"
    """How a Bernoulli likelihood sees gray pixels."""
    levels: int = 256
    class_conditional: bool = False
    """Model p(x | class): samples by class, and classes by likelihood."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    clip_norm: float = 1.0
    """Longer gradients are cut to this length."""
    layers: int = 7
    features: int = 32
    head_features: int = 64
    """Maps between the last layer and the outputs."""
    first_kernel: int = 7
    validation_images: int = free(1000)
    """Validation images looked at during training: the first so many."""
    nll_images: int | None = free(None)
    """Test images that the likelihood is measured on: the first so many; default all."""
    compared_images: int = free(500)
    """Test images compared by class, and with outliers: the first so many."""
    chunk: int = free(64)
    """Images drawn at a time."""

    def __post_init__(self):
        super().__post_init__()
        names = ("layers", "features", "head_features", "validation_images", "nll_images")
        require_at_least(1, self, *names, "compared_images", "chunk")
        if self.first_kernel < 3 or self.first_kernel % 2 == 0:
            raise UsageError(f"--first-kernel must be odd and 3 or more, got {self.first_kernel}")
        if not 2 <= self.levels <= 256:
            raise UsageError(f"--levels must lie in 2..256, got {self.levels}")
        if not self.clip_norm > 0.0:
            raise UsageError(f"--clip-norm must be positive, got {self.clip_norm}")

    def density(self) -> Sequential:
        """The likelihood that the options name."""
        if self.likelihood == "bernoulli":
            return densities.Bernoulli(self.binarization)
        if self.likelihood == "categorical":
            return densities.Categorical(self.levels)
        return densities.LogisticMixture(levels=self.levels)

    @property
    def density_name(self) -> str:
        """What the likelihood is over: numbers of different densities do not compare."""
        if self.likelihood == "bernoulli":
            return self.likelihood
        return f"{self.likelihood} over {self.levels} levels"

    def tx(self, n_examples: int) -> optax.GradientTransformation:
        """The optimizer, for a training set of ``n_examples``."""
        kind = optax.adam if self.optimizer == "adam" else optax.rmsprop
        rate = self.rate(n_examples)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), kind(rate))


def build(
    config: Any, splits: Splits, make_model: Callable[[Any, Sequential, int | None], Network]
) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    n_classes = count_classes(splits, config.dataset) if config.class_conditional else None
    model = make_model(config, config.density(), n_classes)
    key_init, key_film, key_validate, key_test = jax.random.split(jax.random.key(config.seed), 4)
    tx = config.tx(len(splits.train))
    init = functools.partial(autoregressive.init, model, tx, ema_decay=config.ema_decay)
    examples = splits.train.take(np.arange(min(EXAMPLES, len(splits.train))))
    cond = examples["label"] if n_classes is not None else None
    eval_step = jax.jit(autoregressive.eval_step)
    sampler = Sampler(splits.train.image_shape, n_classes, config.chunk)
    few = np.arange(min(len(splits.validation), config.validation_images))
    watched = splits.validation.select(few, "validation")
    classes = splits.train.class_names

    def validate(state: TrainState) -> Mapping[str, float]:
        state = dataclasses.replace(state, key=key_validate)
        return average(eval_step, state, watched)

    return Setup(
        state=jax.jit(init)(key_init, examples["image"], cond=cond),
        train_step=autoregressive.train_step,
        validate=validate,
        film=lambda state: sampler(
            jax.random.fold_in(key_film, 0), state, n_classes or 16, quiet=True
        ),
        test=lambda state: test_metrics(config, state, splits.test, eval_step, key_test),
        pictures=functools.partial(
            add_pictures,
            test=splits.test,
            sampler=sampler,
            key=key_test,
            class_names=classes,
            compared=config.compared_images,
        ),
        draw=sampler,
        best=("nll", "min"),
    )


def average(
    eval_step: evaluation.EvalStep, state: TrainState, images: data.Dataset
) -> dict[str, float]:
    """The mean of every metric over a set."""
    return evaluation.average(
        eval_step, state, data.evaluation_batches(images, min(100, len(images)))
    )


def test_metrics(
    config: PixelConfig,
    state: TrainState,
    test: data.Dataset,
    eval_step: evaluation.EvalStep,
    key: PRNGKey,
) -> Mapping[str, float | str]:
    """The likelihood of the test images."""
    state = dataclasses.replace(state, key=key)  # not the key that training used
    n = min(len(test), config.nll_images or len(test))
    means = average(eval_step, state, test.select(np.arange(n), "test"))
    metrics: dict[str, float | str] = {f"test/{name}": value for name, value in means.items()}
    metrics["nll_images"] = n
    metrics["likelihood"] = config.density_name
    if config.likelihood == "bernoulli":
        metrics["binarization"] = config.binarization
    return metrics
