"""Variational autoencoder: bound, likelihood, and what the latent space looks like.

python -m experiments.vae                        # a 2-D latent, with its manifold
python -m experiments.vae --dataset faces-mini   # 100 small faces, every latent traversed
python -m experiments.vae paper --dataset tfds:mnist --data-dir DIR --epochs 30
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.latent.networks import LatentConfig, mean_image
from experiments.latent.pictures import add_pictures
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, free, require_at_least, when
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data, densities, evaluation, latent, training
from gen_jax.state import TrainState
from gen_jax.typing import Batch, Metrics, PRNGKey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(LatentConfig):
    """Train and evaluate a variational autoencoder."""

    latent_dim: int = 2
    likelihood: Literal["bernoulli", "gaussian", "categorical"] = "bernoulli"
    binarization: Literal["dynamic", "threshold"] = when("dynamic", likelihood="bernoulli")
    """How a Bernoulli likelihood sees gray pixels."""
    beta: float = when(1.0, importance_samples=1)
    """Weight of the KL term."""
    importance_samples: int = 1
    """Above 1, trains the importance-weighted bound with this many samples."""
    decay_epochs: float | Literal["run"] | None = when(None, schedule="plain")
    """Let the learning rate fall along a cosine, to zero after this many epochs; with "run", over
    the length that the run is first started with. Default constant."""
    schedule: Literal["plain", "paper"] = "plain"
    """plain: as --decay-epochs says. paper: the rate falls by 10^(-1/7) after 1, 3, 9, ... epochs
    more (Burda 2015)."""
    nll_samples: int = free(5000)
    """Importance samples per image for the likelihood."""
    nll_images: int | None = free(None)
    """Test images that the likelihood is measured on, from all over the set; default all."""

    def __post_init__(self):
        super().__post_init__()
        names = ("latent_dim", "importance_samples", "nll_samples", "nll_images")
        require_at_least(1, self, *names)
        if not (self.beta >= 0.0 and math.isfinite(self.beta)):
            raise UsageError(f"--beta must be 0 or more, got {self.beta}")


PRESETS = {
    "smoke": Config(steps=35, hidden=(64,), nll_samples=64, nll_images=100, evaluations=2),
    "default": Config(steps=2100, hidden=(256, 256), nll_samples=1000),
    "paper": Config(
        dataset="tfds:mnist",
        latent_dim=50,
        epochs=3280,
        batch_size=20,
        schedule="paper",
        validation_fraction=0.0,
        steps_per_dispatch=500,
        evaluations=10,
    ),
}


def make_model(config: Config, shape: tuple[int, int, int]) -> latent.VAE:
    """The network that a config asks for, for images of ``shape``."""
    likelihoods = {
        "bernoulli": densities.Bernoulli(config.binarization),
        "gaussian": densities.Gaussian(),
        "categorical": densities.Categorical(),
    }
    return latent.VAE(
        image_shape=shape,
        latent_dim=config.latent_dim,
        encoder=config.encoder(),
        decoder=config.decoder(),
        likelihood=likelihoods[config.likelihood],
    )


def learning_rate(config: Config, n_examples: int) -> optax.Schedule:
    """The rate by step: the config's, or in stages of 1, 3, 9, ... epochs."""
    if config.schedule == "plain":
        return config.rate(n_examples)
    epochs = np.cumsum([3**i for i in range(7)])
    boundaries = {round(epoch * n_examples / config.batch_size): 10 ** (-1 / 7) for epoch in epochs}
    return optax.piecewise_constant_schedule(config.learning_rate, boundaries)


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    shape: Any = spec.shape
    tx = optax.adam(learning_rate(config, n_examples), eps=1e-4)
    key_init, key_film, key_validate, key_test = jax.random.split(jax.random.key(config.seed), 4)
    k = config.importance_samples if config.importance_samples > 1 else None
    eval_step = training.compile_eval(latent.eval_step)
    drawn = training.compile_eval(draw, training.local_mesh())

    def init(train: data.AnyDataset) -> TrainState:
        model = make_model(config, shape)
        start = functools.partial(latent.init, model, tx, ema_decay=config.ema_decay)
        example = jnp.zeros((1, *shape), jnp.uint8)
        return training.compile_once(start)(
            jax.random.clone(key_init), example, mean_image=mean_image(train)
        )

    def sample(key: PRNGKey, state: TrainState, n: int) -> np.ndarray:
        return drawn((key, state), {"number": np.arange(n)})

    def validate(state: TrainState, splits: Splits) -> Mapping[str, float]:
        batches = data.evaluation_batches(splits.validation, 500)
        return evaluation.average(eval_step, dataclasses.replace(state, key=key_validate), batches)

    return Setup(
        init=init,
        train_step=functools.partial(latent.train_step, beta=config.beta, k=k),
        validate=validate,
        film=lambda state, splits: sample(jax.random.fold_in(key_film, 0), state, 64),
        test=lambda state, test: test_metrics(config, state, test, eval_step, key_test),
        pictures=lambda state, splits, run_dir: add_pictures(state, run_dir, test=splits.test),
        draw=sample,
        best=("elbo", "max"),
    )


def draw(given: tuple[PRNGKey, TrainState], batch: Batch) -> jax.Array:
    """New images, by their numbers."""
    key, state = given
    numbers = batch["number"]
    return latent.sample(state.model, state.eval_params, key, len(numbers), numbers=numbers)


def encode(state: TrainState, batch: Batch) -> jax.Array:
    """The mean of each image's posterior."""
    return latent.encode(state.model, state.eval_params, batch["image"])[0]


def test_metrics(
    config: Config,
    state: TrainState,
    test: data.Dataset,
    eval_step: evaluation.EvalStep,
    key: PRNGKey,
) -> Mapping[str, float | str]:
    """Bound, likelihood by importance samples, and active units on the test images."""
    state = dataclasses.replace(state, key=key)  # not the key that training used
    bound = evaluation.average(eval_step, state, data.evaluation_batches(test, 500))
    measured = data.part(test, config.nll_images)
    nll = negative_log_likelihood(config, state, measured, key)
    mean = training.compile_eval(encode)(state, {"image": data.some(test, 5000)["image"]})
    metrics: dict[str, float | str] = {f"test/{name}": value for name, value in bound.items()}
    metrics["test/nll"] = nll
    metrics["test/bits_per_dim"] = float(densities.bits_per_dim(nll, math.prod(test.image_shape)))
    metrics["test/active_units"] = int(evaluation.active_units(mean).sum())
    metrics["iwae_k"] = config.nll_samples
    metrics["nll_images"] = len(measured)
    metrics["likelihood"] = config.likelihood
    if config.likelihood == "bernoulli":
        metrics["binarization"] = config.binarization
    return metrics


def negative_log_likelihood(
    config: Config, state: TrainState, test: data.Dataset, key: PRNGKey
) -> float:
    """The mean of -log p(x) over test images, nats, by ``nll_samples`` importance samples each."""

    def eval_step(state: TrainState, batch: Batch) -> Metrics:
        keys, numbers = state.evaluation_keys("observe", "importance"), batch["number"]
        x = latent.observe(state.model, keys["observe"], batch["image"], numbers=numbers)
        log_weights = functools.partial(
            latent.log_weights,
            state.model,
            state.eval_params,
            numbers=numbers,
        )
        log_likelihood = evaluation.importance_log_likelihood(
            log_weights, keys["importance"], x, n_samples=config.nll_samples, chunk=chunk
        )
        return {"nll": -log_likelihood}

    # A chunk's decoded images stay in the processor's cache.
    chunk = next(c for c in (10, 8, 5, 4, 2, 1) if config.nll_samples % c == 0)
    batches = data.evaluation_batches(test, 100)
    compiled = training.compile_eval(eval_step, on_cores=True)
    return evaluation.average(compiled, dataclasses.replace(state, key=key), batches)["nll"]


EXPERIMENT = Training("vae", __doc__, PRESETS, build=build)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
