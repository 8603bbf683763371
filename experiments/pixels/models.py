"""What the experiments with PixelCNNs and PixelRNNs share: options, training, and what is measured.

An experiment adds its networks (``build``'s ``make_model``).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import optax

from experiments.pixels.pictures import add_pictures
from experiments.pixels.sampler import Sampler
from experiments.running.config import ImageRunConfig, Labels
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup
from experiments.running.options import UsageError, free, require_at_least, when
from gen_jax import autoregressive, data, densities, evaluation, training
from gen_jax.autoregressive import Network
from gen_jax.autoregressive.objective import Hidden
from gen_jax.densities import Sequential
from gen_jax.nn.condition import batch_condition
from gen_jax.state import TrainState
from gen_jax.typing import Batch, PRNGKey

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
    "decay_epochs": "run",
    "ema_decay": 0.99,
    "class_conditional": True,
    "steps_per_dispatch": 5,
    "evaluations": 6,
}
PAPER: dict[str, Any] = {
    "dataset": "tfds:mnist",
    "epochs": 100,
    "decay_epochs": "run",
    "ema_decay": 0.999,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelConfig(ImageRunConfig):
    """What an autoregressive model of images is made of."""

    likelihood: Literal["bernoulli", "categorical", "mixture"] = "bernoulli"
    """bernoulli: black and white pixels; categorical: --levels each for itself; mixture: levels
    under a discretized mixture of logistics."""
    binarization: Literal["dynamic", "threshold"] = when("dynamic", likelihood="bernoulli")
    """How a Bernoulli likelihood sees gray pixels."""
    levels: int = when(256, likelihood=("categorical", "mixture"))
    class_conditional: bool = False
    """Model p(x | class): samples by class, and classes by likelihood."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    clip_norm: float | None = 1.0
    """Gradients longer than this are scaled down to it; None: never."""
    layers: int = 7
    features: int = 32
    head_features: int = 64
    """Maps between the last layer and the outputs."""
    first_kernel: int = 7
    validation_images: int = free(1000)
    """Validation images evaluated during training, from all over the set."""
    nll_images: int | None = free(None)
    """Test images that the likelihood is measured on, from all over the set; default all."""
    compared_images: int = free(500)
    """Test images compared by class, and with outliers, from all over the set."""
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
        if self.clip_norm is not None and not self.clip_norm > 0.0:
            raise UsageError(f"--clip-norm must be positive, got {self.clip_norm}")

    @property
    def labels(self) -> Labels:
        return "required" if self.class_conditional else "unused"

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
        tx = kind(self.rate(n_examples))
        if self.clip_norm is None:
            return tx
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), tx)


def build(
    config: Any,
    spec: data.ExampleSpec,
    n_examples: int,
    make_model: Callable[[Any, Sequential, int | None], Network],
    hidden: Hidden | None = None,
) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it.

    ``hidden`` says of a batch which pixels are not known already (``autoregressive.train_step``).
    """
    n_classes = spec.n_classes if config.class_conditional else None
    model = make_model(config, config.density(), n_classes)
    key_init, key_film, key_validate, key_test = jax.random.split(jax.random.key(config.seed), 4)
    eval_step = training.compile_eval(functools.partial(autoregressive.eval_step, hidden=hidden))
    sampler = Sampler(spec.shape, n_classes, config.chunk)

    def init(train: data.AnyDataset) -> TrainState:
        examples = data.some(train, EXAMPLES)

        def start(key: PRNGKey, batch: Batch) -> TrainState:
            return autoregressive.init(
                model,
                config.tx(n_examples),
                key,
                batch["image"],
                cond=batch_condition(batch, labels=n_classes is not None),
                ema_decay=config.ema_decay,
            )

        return training.compile_once(start)(jax.random.clone(key_init), examples)

    def validate(state: TrainState, splits: Splits) -> Mapping[str, float]:
        watched = data.part(splits.validation, config.validation_images)
        return average(eval_step, dataclasses.replace(state, key=key_validate), watched)

    return Setup(
        init=init,
        train_step=functools.partial(autoregressive.train_step, hidden=hidden),
        validate=validate,
        film=lambda state, splits: sampler(
            jax.random.fold_in(key_film, 0), state, n_classes or 16, quiet=True
        ),
        test=lambda state, test: test_metrics(config, state, test, eval_step, key_test),
        pictures=lambda state, splits, run_dir: add_pictures(
            state,
            run_dir,
            test=splits.test,
            sampler=sampler,
            key=key_test,
            class_names=spec.class_names,
            compared=config.compared_images,
        ),
        draw=sampler,
        best=("nll", "min"),
    )


def average(
    eval_step: evaluation.EvalStep, state: TrainState, images: data.Dataset
) -> dict[str, float]:
    """The mean of every metric over a set."""
    return evaluation.average(eval_step, state, data.evaluation_batches(images, 100))


def test_metrics(
    config: PixelConfig,
    state: TrainState,
    test: data.Dataset,
    eval_step: evaluation.EvalStep,
    key: jax.Array,
) -> Mapping[str, float | str]:
    """The likelihood of the test images."""
    state = dataclasses.replace(state, key=key)  # not the key that training used
    measured = data.part(test, config.nll_images)
    means = average(eval_step, state, measured)
    metrics: dict[str, float | str] = {f"test/{name}": value for name, value in means.items()}
    metrics["nll_images"] = len(measured)
    metrics["likelihood"] = config.density_name
    if config.likelihood == "bernoulli":
        metrics["binarization"] = config.binarization
    return metrics
