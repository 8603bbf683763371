"""Generative adversarial networks with any of the losses, and whether their game is healthy.

python -m experiments.gan
python -m experiments.gan --loss wasserstein
python -m experiments.gan --loss least-squares --network dense
"""

import functools

from experiments.adversarial.games import Game, game_setup, open_scored
from experiments.adversarial.models import GANConfig, make_networks
from experiments.running.fitting import Setup, Training
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data
from gen_jax.adversarial import gan

PRESETS = {
    "smoke": GANConfig(
        steps=80,
        batch_size=16,
        latent_dim=4,
        features=4,
        network="conv",
        evaluations=2,
        scored_samples=40,
        watched_samples=40,
    ),
    "default": GANConfig(
        updates=4080, batch_size=64, learning_rate=2e-4, ema_decay=0.99, evaluations=6
    ),
    "paper": GANConfig(
        dataset="tfds:mnist",
        epochs=50,
        batch_size=128,
        learning_rate=2e-4,
        latent_dim=100,
        ema_decay=0.999,
    ),
}


def build(config: GANConfig, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes both networks, their step, and what is measured and drawn of them."""
    n_classes = spec.n_classes if config.class_conditional else None
    recipe = config.recipe
    init = functools.partial(
        gan.init,
        *make_networks(config, spec.shape, n_classes),
        *recipe.optimizers(config.rate(n_examples)),
        ema_decay=config.ema_decay,
    )
    game = Game(
        init=lambda train: init,
        train_step=recipe.train_step,
        eval_step=gan.eval_step,
        says="logit",
        critic=recipe.critic,
    )
    return game_setup(config, spec, game)


EXPERIMENT = Training("gan", __doc__, PRESETS, build=build, open=open_scored)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
