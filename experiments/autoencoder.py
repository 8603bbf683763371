"""Plain autoencoder: how much of an image survives a small code, and what the code is good for.

python -m experiments.autoencoder
python -m experiments.autoencoder --network conv --dataset folder:PHOTOS --image-size 64
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.latent.networks import LatentConfig, mean_image
from experiments.latent.pictures import add_reconstructions
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import require_at_least
from experiments.running.run import run
from experiments.running.terminal import main
from gen_jax import data, evaluation, images, training
from gen_jax.latent import Autoencoder, autoencoder
from gen_jax.state import TrainState
from gen_jax.typing import Batch


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


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    shape: Any = spec.shape
    tx = optax.adam(config.rate(n_examples))
    eval_step = training.compile_eval(autoencoder.eval_step)
    rebuilt = training.compile_eval(rebuild, training.local_mesh())

    def init(train: data.AnyDataset) -> TrainState:
        model = Autoencoder(shape, config.code_dim, config.encoder(), config.decoder())
        start = functools.partial(autoencoder.init, model, tx, ema_decay=config.ema_decay)
        example = jnp.zeros((1, *shape), jnp.uint8)
        return training.compile_once(start)(
            jax.random.key(config.seed), example, mean_image=mean_image(train)
        )

    def measure(state: TrainState, dataset: data.Dataset) -> Mapping[str, float]:
        batches = data.evaluation_batches(dataset, 500)
        loss = evaluation.average(eval_step, state, batches)["loss"]
        return {"loss": loss, "mse": loss / math.prod(shape)}

    def film(state: TrainState, splits: Splits) -> np.ndarray:
        watched = data.some(splits.validation, 32)["image"]
        return rebuilt(state, {"image": watched})

    def pictures(state: TrainState, splits: Splits, run_dir: Path) -> None:
        x = data.some(splits.test, 16)["image"]
        add_reconstructions(x, rebuilt(state, {"image": x}), run_dir)

    return Setup(
        init=init,
        train_step=autoencoder.train_step,
        validate=lambda state, splits: measure(state, splits.validation),
        film=film,
        test=lambda state, test: {
            f"test/{name}": value for name, value in measure(state, test).items()
        },
        pictures=pictures,
        best=("mse", "min"),
    )


def rebuild(state: TrainState, batch: Batch) -> jax.Array:
    """Each image after its way through the code, uint8."""
    rebuilt = autoencoder.reconstruct(state.model, state.eval_params, batch["image"])
    return images.to_uint8(rebuilt)


EXPERIMENT = Training("autoencoder", __doc__, PRESETS, build=build)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
