"""Plain autoencoder: how much of an image survives a small code, and what the code is good for.

python -m experiments.autoencoder
python -m experiments.autoencoder --network conv --dataset folder:PHOTOS --image-size 64
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.latent.networks import LatentConfig, mean_image
from experiments.latent.pictures import add_reconstructions
from experiments.running.config import require_at_least
from experiments.running.harness import Experiment, Setup, Splits, main, run
from gen_jax import data, evaluation, images
from gen_jax.latent import Autoencoder, autoencoder
from gen_jax.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(LatentConfig):
    """Train and evaluate an autoencoder with the L2 loss."""

    code_dim: int = 32

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "code_dim")


PRESETS = {
    "smoke": Config(steps=150, hidden=(64,), evaluations=2),
    "default": Config(steps=1400, network="conv"),
    "paper": Config(dataset="tfds:mnist", epochs=100, hidden=(1000, 500, 250), code_dim=30),
}


def build(config: Config, splits: Splits) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    shape = splits.train.image_shape
    model = Autoencoder(shape, config.code_dim, config.encoder(), config.decoder())
    key = jax.random.key(config.seed)
    tx = optax.adam(config.rate(len(splits.train)))
    example = jnp.zeros((1, *shape), jnp.uint8)
    state = autoencoder.init(
        model,
        tx,
        key,
        example,
        mean_image=mean_image(splits.train),
        ema_decay=config.ema_decay,
    )
    eval_step = jax.jit(autoencoder.eval_step)
    watched = splits.validation.take(np.arange(min(len(splits.validation), 32)))["image"]

    @jax.jit
    def rebuild(state: TrainState, image: jax.Array) -> jax.Array:
        return autoencoder.reconstruct(state.model, state.eval_params, image)

    def measure(state: TrainState, dataset: data.Dataset) -> Mapping[str, float]:
        batches = data.evaluation_batches(dataset, min(500, len(dataset)))
        loss = evaluation.average(eval_step, state, batches)["loss"]
        return {"loss": loss, "mse": loss / int(np.prod(shape))}

    def pictures(state: TrainState, run_dir: Path) -> None:
        x = splits.test.take(np.arange(min(len(splits.test), 16)))["image"]
        add_reconstructions(x, rebuild(state, x), run_dir)

    return Setup(
        state=state,
        train_step=autoencoder.train_step,
        validate=lambda state: measure(state, splits.validation),
        film=lambda state: np.asarray(images.to_uint8(rebuild(state, watched))),
        test=lambda state: {
            f"test/{name}": value for name, value in measure(state, splits.test).items()
        },
        pictures=pictures,
        best=("mse", "min"),
    )


EXPERIMENT = Experiment("autoencoder", __doc__, PRESETS, build)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
