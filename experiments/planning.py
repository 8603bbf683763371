"""Planning by generation: an autoregressive model draws the shortest path through a maze.

python -m experiments.planning
python -m experiments.planning --dataset mazes:loops:8
python -m experiments.planning paper

A Gated PixelCNN models p(path | maze), whose encoder reads the maze by one block applied again and
again, as value iteration plans. Of several plans the likeliest is taken; way-points and forbidden
pixels are evidence, which changes a plan only where there are other paths, and so not in a perfect
maze. Beside them: walks guided by the model's marginals, a pix2pix that draws a plan in one go, and
the search that made the data.

Of 200 perfect mazes of 8×8 cells, the likeliest of 16 plans is valid in 92 %, and so shortest; in
mazes twice as wide, in 14 % (one x86 core, 587 s with the rival).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.mazes import pictures, rival, scores
from experiments.mazes.planner import Planner
from experiments.pixels.models import average
from experiments.running.config import ImageRunConfig
from experiments.running.experiment import Findings, Job, Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import MAX_SEED, UsageError, free, require_at_least, where
from experiments.running.run import run
from experiments.running.terminal import main, say
from gen_jax import autoregressive, data, densities, training
from gen_jax.autoregressive import Network
from gen_jax.data.mazes import making, plans
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

EXAMPLES = 32  # that the parameters' shapes are taken from
FILMED = 24  # validation mazes whose plans are watched
KERNEL = 3  # of the layers that draw the path
LONGEST = 1.0  # gradient


def with_rival(default: Any) -> Any:
    """A field that applies only where a rival is trained."""
    matches, reason = lambda config: config.rival != "none", "a --rival other than none"
    return where(default, matches, reason, identity=False)  # that of the rival's own run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImageRunConfig):
    """Train and evaluate a model that draws plans."""

    dataset: str = "mazes:perfect:8"
    """mazes:KIND:CELLS[:N]: KIND perfect, loops or rooms, CELLS a side, N to train on."""
    layers: int = 3
    """Gated layers that draw the path."""
    features: int = 16
    """Maps of each."""
    head_features: int = 32
    """Maps between the last layer and the outputs."""
    encoder_features: int = 32
    """Maps of the encoder that reads the maze."""
    encoder_steps: int = 28
    """How often its block is applied: what it finds travels --stride pixels each time."""
    stride: int = 2
    """Pixels of the maze for each place of the encoder's map; 2: one cell."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from zero. Without them, the encoder does not learn
    to look further than a few cells."""
    plans: tuple[int, ...] = free((1, 4, 16))
    """Take the likeliest of this many plans; each number is measured."""
    mazes: int = free(200)
    """Test mazes to draw plans for; a quarter as many with way-points, and larger ones."""
    larger: int = free(2)
    """Also draw plans in mazes this many times as wide, with as many more steps; 1: do not."""
    way_points: int = free(1)
    """Way-points that plans are to pass; 0: do not measure it."""
    watched: int = free(100)
    """Validation mazes that plans are drawn for during training."""
    chunk: int = free(100)
    """Plans drawn at a time."""
    rival: Literal["l2", "l1", "l1-gan", "none"] = free("l2")
    """Also train a pix2pix that draws a plan in one go: by a distance alone, or with a
    discriminator. By L1 it leaves mazes empty."""
    rival_steps: int = with_rival(2000)
    rival_features: int = with_rival(16)

    def __post_init__(self):
        super().__post_init__()
        names = ("layers", "features", "head_features", "encoder_features", "encoder_steps")
        names += ("stride", "mazes", "larger", "watched", "chunk", "rival_steps", "rival_features")
        require_at_least(1, self, *names)
        require_at_least(0, self, "way_points", "warmup_steps")
        if self.way_points > plans.MOST_WAY_POINTS:
            raise UsageError(
                f"--way-points must be at most {plans.MOST_WAY_POINTS}, got {self.way_points}"
            )
        ascending = sorted({*self.plans})
        if not self.plans or list(self.plans) != ascending or ascending[0] < 1:
            given = " ".join(map(str, self.plans))
            raise UsageError(f"--plans must be ascending numbers of 1 or more, got {given}")

    def rate(self, n_examples: int) -> optax.Schedule:
        """The learning rate by step, for a training set of ``n_examples``."""
        rate, span = super().rate(n_examples), max(1, self.warmup_steps)
        return lambda step: jnp.asarray(rate(step)) * jnp.minimum(1.0, (step + 1) / span)

    def tx(self, n_examples: int) -> optax.GradientTransformation:
        """The optimizer, for a training set of ``n_examples``."""
        clip = optax.clip_by_global_norm(LONGEST)
        return optax.chain(clip, optax.adam(self.rate(n_examples)))


PRESETS = {
    "smoke": Config(
        dataset="mazes:perfect:3:200",
        steps=20,
        batch_size=16,
        layers=2,
        features=8,
        head_features=8,
        encoder_features=8,
        encoder_steps=4,
        warmup_steps=5,
        plans=(1, 2),
        mazes=8,
        watched=8,
        chunk=16,
        evaluations=2,
        rival_steps=2,
        rival_features=2,
    ),
    "default": Config(
        steps=2500,
        batch_size=32,
        learning_rate=2e-3,
        decay_epochs="run",
        ema_decay=0.99,
        steps_per_dispatch=10,
        evaluations=5,
    ),
    "paper": Config(
        dataset="mazes:perfect:16:100000",
        steps=50_000,
        batch_size=64,
        layers=5,
        features=32,
        head_features=64,
        encoder_features=64,
        encoder_steps=80,
        decay_epochs="run",
        ema_decay=0.999,
        rival_steps=20_000,
        rival_features=64,
    ),
}


def make_model(config: Config) -> Network:
    """The network that a config asks for."""
    encoder = autoregressive.IteratedEncoder(
        config.encoder_features,
        steps=config.encoder_steps,
        stride=config.stride,
        dtype=config.compute_dtype,
    )
    return autoregressive.GatedPixelCNN(
        densities.Bernoulli("threshold"),
        layers=config.layers,
        features=config.features,
        skip_features=config.head_features,
        first_kernel=KERNEL,
        condition=encoder,
        dtype=config.compute_dtype,
    )


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes the model, its step, and what is measured and drawn of it."""
    _check_way_points(config, spec)
    model, tx = make_model(config), config.tx(n_examples)
    keys = jax.random.split(jax.random.key(config.seed), 4)
    key_init, key_watch, key_test, key_pictures = keys
    planner = Planner(config.chunk)
    eval_step = training.compile_eval(autoregressive.eval_step)
    scorer = scores.Scorer(
        planner, config.plans, config.mazes, config.larger, config.way_points, config.seed
    )

    def init(train: data.AnyDataset) -> TrainState:
        examples = data.some(train, EXAMPLES)
        cond = autoregressive.Condition(spatial=examples["spatial"])  # pyright: ignore -- NumPy's, too
        start = training.compile_once(
            lambda key, image, cond: autoregressive.init(
                model, tx, key, image, cond=cond, ema_decay=config.ema_decay
            )
        )
        return start(jax.random.clone(key_init), examples["image"], cond)

    def watch(state: TrainState, splits: Splits) -> tuple[np.ndarray, np.ndarray]:
        spatial = data.some(splits.validation, config.watched)["spatial"]
        return spatial, planner(state, key_watch, spatial, 1).best(1)

    def validate(state: TrainState, splits: Splits) -> Mapping[str, float]:
        found = average(eval_step, state, data.part(splits.validation, config.watched))
        return found | {"valid": scores.judged(*watch(state, splits))["valid"]}

    def film(state: TrainState, splits: Splits) -> np.ndarray:
        return plans.picture(*(x[:FILMED] for x in watch(state, splits)))

    def test(state: TrainState, mazes: data.Dataset) -> Mapping[str, float]:
        found = average(eval_step, state, mazes)
        found = {f"test/{name}": x for name, x in found.items()}
        groups = scorer.groups(state, key_test, mazes)
        return found | scores.as_metrics(groups) | scores.as_counts(scorer.asked(mazes))

    return Setup(
        init=init,
        train_step=autoregressive.train_step,
        validate=validate,
        film=film,
        test=test,
        pictures=lambda state, splits, run_dir: pictures.add_pictures(
            run_dir, state, key_pictures, splits.test, scorer
        ),
        draw=functools.partial(draw, config, planner),
        best=("nll", "min"),
        table=scores.add_table,
    )


def draw(config: Config, planner: Planner, key: PRNGKey, state: TrainState, n: int) -> np.ndarray:
    """Pictures of ``n`` new mazes of the config's kind, and of the likeliest plan of each."""
    key_mazes, key_plans = jax.random.split(key)
    kind, cells = scores.kind_and_cells(config.dataset)
    seed = int(jax.random.randint(key_mazes, (), 0, MAX_SEED // 2))
    spatial = making.make(n, cells, kind, seed=seed, split="test").spatial
    most = config.plans[-1]
    return plans.picture(spatial, planner(state, key_plans, spatial, most).best(most))


def _check_way_points(config: Config, spec: data.ExampleSpec) -> None:
    cells = (spec.shape[0] - 1) // 2
    if config.way_points >= cells:
        raise ValueError(
            f"--way-points must be fewer than the {cells} cells of a maze's side, got "
            f"{config.way_points}"
        )


def open_mazes(config: Config, split: str) -> data.Dataset:
    """One part of the config's mazes. Raises ``UsageError`` for data that are none."""
    if not config.dataset.startswith("mazes:"):
        raise UsageError(f"planning takes --dataset mazes:KIND:CELLS, got {config.dataset}")
    return data.load_pairs(config.dataset, split, **config.opening)


class Planning(Training):
    """Training, and then that of the rival, in a folder of the run's own."""

    def work(self, job: Job) -> Findings:
        config = job.config
        if config.rival == "none":
            return super().work(job)
        other = rival.nested(job)  # what its networks refuse comes before any training
        findings = super().work(job)
        if not config.quiet:
            say(f"The rival, {other.name}:")
        state = other.train().state
        rows = rival.scored(other, state, job.data.test, config.mazes)
        metrics = {**findings.metrics, **scores.as_metrics({"": rows})}
        if job.run.writes:
            scores.add_table(job.run.dir, metrics)
            rival.add_plans(job.run.dir, other, state, job.data.test)
        return dataclasses.replace(findings, metrics=metrics)


EXPERIMENT = Planning("planning", __doc__, PRESETS, build=build, open=open_mazes, splits_cpu=True)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
