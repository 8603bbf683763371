"""Boundary equilibrium GAN: an autoencoder as discriminator, and a measure of convergence.

python -m experiments.began
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import optax

from experiments.adversarial.games import Game, game_setup, open_scored
from experiments.adversarial.models import GameConfig
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, require_at_least, require_positive
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data
from gen_jax.adversarial import began
from gen_jax.adversarial.began_networks import BEGANDecoder, BEGANDiscriminator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GameConfig):
    """Train and evaluate a BEGAN."""

    gamma: float = 0.5
    """Generated over real reconstruction error at equilibrium, in [0, 1]: low is sharp, high is
    various."""
    lambda_k: float = 1e-3
    """How fast the weight k moves."""
    generator_rate: float = 1.0
    """The generator's learning rate, as a multiple of the discriminator's."""
    latent_scale: float = 1.0
    """What latents from [-1, 1] are multiplied by before the generator's first layer."""
    patience: int = 1000
    """Steps over which M is averaged; the rate is halved when such a mean is not the lowest."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "patience")
        if not 0.0 <= self.gamma <= 1.0:
            raise UsageError(f"--gamma must lie in [0, 1], got {self.gamma}")
        require_positive(self, "lambda_k", "generator_rate", "latent_scale")


PRESETS = {
    "smoke": Config(
        steps=12,
        batch_size=16,
        latent_dim=4,
        features=4,
        evaluations=2,
        scored_samples=40,
        watched_samples=40,
    ),
    # More various than the paper's: at gamma 0.75 all digits are ones, the easiest to reconstruct.
    "default": Config(
        steps=6000,
        batch_size=16,
        latent_dim=16,
        features=16,
        learning_rate=3e-4,
        generator_rate=5.0,
        latent_scale=3.0,
        gamma=1.0,
        lambda_k=5e-2,
        ema_decay=0.99,
        evaluations=6,
    ),
    "paper": Config(
        dataset="tfds:mnist",
        epochs=50,
        batch_size=16,
        features=64,
        learning_rate=1e-4,
        gamma=0.5,
    ),
}


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes both networks, their step, and what is measured and drawn of them."""
    rate = config.rate(n_examples)

    def adam(scale: float) -> optax.GradientTransformation:
        scaled = optax.chain(optax.adam(rate, b1=0.5), optax.scale(scale))
        return began.plateau(scaled, patience=config.patience)

    def init(train: data.AnyDataset) -> Callable[..., began.BEGANState]:
        sizes: Any = {
            "latent_dim": config.latent_dim,
            "image_mean": float(data.some(train, 1000)["image"].mean()) / 127.5 - 1.0,
            "dtype": config.compute_dtype,
        }
        made: Any = {"image_shape": spec.shape, "latent_scale": config.latent_scale}
        return functools.partial(
            began.init,
            BEGANDecoder(config.features, **made, **sizes),
            BEGANDiscriminator(config.features, **sizes),
            adam(config.generator_rate),
            adam(1.0),
            ema_decay=config.ema_decay,
        )

    game = Game(
        init=init,
        train_step=functools.partial(
            began.train_step, gamma=config.gamma, lambda_k=config.lambda_k
        ),
        eval_step=began.eval_step,
        says="error",
    )
    return game_setup(config, spec, game)


EXPERIMENT = Training("began", __doc__, PRESETS, build=build, open=open_scored)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
