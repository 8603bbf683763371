"""Eight Gaussians on a ring: which losses find all of them, and which collapse onto a few.

python -m experiments.mixture

Every loss of the library trains the same two dense networks on the same points; one picture shows
what each generator makes during training, and a table how many modes it found.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.adversarial.models import RECIPES, LossName, Recipe
from experiments.running.config import BaseConfig
from experiments.running.experiment import Findings, Job, Study
from experiments.running.options import UsageError, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main, say
from gen_jax import adversarial, evaluation, reporting, training
from gen_jax.adversarial import gan
from gen_jax.typing import Array, PRNGKey

MODES, RADIUS, STD = 8, 0.7, 0.02  # within the reach of a tanh
SHAPE = (1, 1, 2)  # of a point, as an image
PENALTY_WEIGHT = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Compare losses on a mixture of Gaussians."""

    former_fields: ClassVar = (
        *("dataset", "data_dir", "validation_fraction"),
        *("image_size", "channels", "skip_bad_images"),
    )

    loss: tuple[LossName, ...] = tuple(RECIPES)
    """The losses to compare."""
    steps: int = 10_000
    """Updates of each generator."""
    batch_size: int = 256
    hidden: int = 128
    """Units of each network's two hidden layers."""
    latent_dim: int = 16
    learning_rate: float = 1e-3
    moments: int = 5
    """Number of snapshots of each generator."""
    samples: int = 2000

    def __post_init__(self):
        super().__post_init__()
        names = ("steps", "batch_size", "hidden", "latent_dim", "moments")
        require_at_least(1, self, *names)
        require_at_least(2, self, "samples")
        unknown = [name for name in self.loss if name not in RECIPES]
        if unknown or not self.loss:
            known = ", ".join(RECIPES)
            raise UsageError(f"--loss must be some of {known}, got {' '.join(unknown) or 'none'}")
        if self.steps % self.moments:
            raise UsageError(
                f"--steps must be a multiple of --moments ({self.moments}), got {self.steps}"
            )

    @property
    def source(self) -> str:
        return "ring"


PRESETS = {
    "smoke": Config(
        loss=("non-saturating", "wasserstein"),
        steps=20,
        batch_size=32,
        hidden=8,
        latent_dim=2,
        moments=2,
        samples=64,
    ),
    "default": Config(),
    "paper": Config(steps=50_000, hidden=512, latent_dim=256),
}


def centers() -> np.ndarray:
    """The modes, [8, 2]."""
    angles = 2.0 * np.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def ring(key: PRNGKey, n: int) -> Array:
    """Points of the mixture, [n, 2]."""
    mode_key, noise_key = jax.random.split(key)
    mode = jax.random.randint(mode_key, (n,), 0, MODES)
    return jnp.asarray(centers())[mode] + STD * jax.random.normal(noise_key, (n, 2))


def ring_recipe(name: LossName) -> Recipe:
    """The loss's recipe, as it suits points: Adam without momentum, under which players chase each
    other less, and the penalty that WGAN-GP's authors gave such points, a hundredth of images'."""
    recipe = dataclasses.replace(RECIPES[name], b1=0.0, rate=1.0)
    if recipe.penalty is not None:
        recipe = dataclasses.replace(recipe, penalty_weight=PENALTY_WEIGHT)
    return recipe


def make_state(config: Config, recipe: Recipe, key: PRNGKey) -> gan.GANState:
    """Both networks before their first update; none normalizes batches, which hides collapse."""
    hidden = (config.hidden,) * 2
    start = functools.partial(
        gan.init,
        adversarial.DenseGenerator(hidden, image_shape=SHAPE, latent_dim=config.latent_dim),
        adversarial.DenseDiscriminator(hidden, spectral=recipe.norm == "spectral"),
        *recipe.optimizers(optax.constant_schedule(config.learning_rate)),
    )
    return training.compile_once(start)(key, {"image": jnp.zeros((1, *SHAPE))})


@functools.partial(jax.jit, static_argnames=("config", "recipe", "steps"))
def advance(
    config: Config, recipe: Recipe, state: gan.GANState, data_key: PRNGKey, steps: int
) -> gan.GANState:
    """Trains for ``steps`` more steps, each on points of its own."""

    def body(_: Array, state: gan.GANState) -> gan.GANState:
        n = recipe.d_steps * config.batch_size
        points = ring(jax.random.fold_in(data_key, state.step), n).reshape(-1, *SHAPE)
        return recipe.train_step(state, {"image": points})[0]

    return jax.lax.fori_loop(0, steps, body, state)


def work(job: Job) -> Findings:
    """Trains each loss's pair and shows what the generators make."""
    config: Config = job.config
    key, data_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    each = config.steps // config.moments
    clouds: dict[str, list[np.ndarray]] = {}
    rows, metrics, params, points = [], {}, {}, 0
    start = time.perf_counter()
    for name in config.loss:
        recipe = ring_recipe(name)
        state = make_state(config, recipe, jax.random.fold_in(key, 0))  # all begin alike
        clouds[name] = []
        for i in range(config.moments):
            state = advance(config, recipe, state, data_key, each)
            z_key = jax.random.fold_in(sample_key, i)
            clouds[name].append(np.asarray(points_of(state, z_key, config.samples)))
        found = evaluation.ring_modes(clouds[name][-1], centers(), STD)
        rows.append((name, found.found, f"{found.high_quality:.1%}"))
        metrics[f"test/modes_{name}"] = found.found
        metrics[f"test/high_quality_{name}"] = found.high_quality
        params[name] = state.params
        points += each * config.moments * recipe.d_steps * config.batch_size
        if not config.quiet:
            say(f"{name}: {found.found} of {MODES} modes, {found.high_quality:.1%} of points good")
    steps = each * config.moments * len(config.loss)
    add_results(config, clouds, rows, each, job.run.dir)
    return Findings(
        params=params,
        steps=steps,
        examples_per_s=points / (time.perf_counter() - start),
        metrics=metrics,
    )


@functools.partial(jax.jit, static_argnames="n")
def points_of(state: gan.GANState, key: PRNGKey, n: int) -> Array:
    """Generated points, [n, 2]."""
    z = adversarial.latents(state, key, n)
    network = state.generator
    return network.model.apply(network.eval_variables, z, None, train=False).reshape(n, 2)


def add_results(
    config: Config,
    clouds: dict[str, list[np.ndarray]],
    rows: list[tuple[str, int, str]],
    each: int,
    run_dir: Path,
) -> None:
    """Adds the picture and the table."""
    reporting.add_picture(
        run_dir,
        "ring",
        reporting.plots.point_clouds(
            clouds, [f"step {each * (i + 1):,}" for i in range(config.moments)], marked=centers()
        ),
        title="What each generator makes",
        caption=f"{config.samples:,} generated points; crosses are the mixture's modes.",
    )
    reporting.add_table(
        run_dir,
        "modes",
        ["loss", f"modes found, of {MODES}", "points of high quality"],
        rows,
        title="Modes found",
        caption="A point is of high quality within three standard deviations of a mode (Srivastava "
        "et al. 2017); a mode is found if such points are a tenth of its fair share or more.",
    )


EXPERIMENT = Study("mixture", __doc__, PRESETS, function=work, open=None)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
