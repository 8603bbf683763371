"""Generative adversarial networks with any of the losses, and whether their game is healthy.

python -m experiments.gan
python -m experiments.gan --loss wasserstein
python -m experiments.gan --loss least-squares --network dense
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.adversarial_games import Game, game_setup
from experiments.adversarial_models import GANConfig, make_networks
from experiments.harness import Experiment, Setup, Splits, main, run
from experiments.labels import count_classes
from gen_jax.adversarial import gan

PRESETS = {
    "smoke": GANConfig(
        steps=12,
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


def build(config: GANConfig, splits: Splits) -> Setup:
    """Makes both networks, their step, and what is measured and drawn of them."""
    shape = splits.train.image_shape
    n_classes = count_classes(splits, config.dataset) if config.class_conditional else None
    recipe = config.recipe
    tx = optax.adam(config.rate(len(splits.train)), b1=recipe.b1, b2=recipe.b2)
    generator, discriminator = make_networks(config, shape, n_classes)
    init = functools.partial(gan.init, generator, discriminator, tx, tx)
    state = jax.jit(functools.partial(init, ema_decay=config.ema_decay))(
        jax.random.key(config.seed), jnp.zeros((1, *shape), jnp.uint8)
    )
    eval_step = jax.jit(gan.eval_step)

    def logits(state: gan.GANState, batch: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(eval_step(state, batch)["logit"])

    return game_setup(
        config,
        splits,
        Game(
            state=state,
            train_step=functools.partial(
                gan.train_step, loss=recipe.loss, d_steps=recipe.d_steps, penalty=recipe.penalty
            ),
            prior=jax.random.normal,
            judged=("logit", logits),
            critic=recipe.critic,
        ),
    )


EXPERIMENT = Experiment("gan", __doc__, PRESETS, build)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
