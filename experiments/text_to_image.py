"""Images from sentences: GAN-CLS, GAN-INT and GAN-INT-CLS on embedded captions.

python -m experiments.text_to_image
python -m experiments.text_to_image --objective cls --text-encoder runs/text_encoder/default
python -m experiments.text_to_image --dataset captions:PATH --image-size 64
python -m experiments.sample runs/text_to_image/default --text "a thick red seven leaning left"
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.adversarial.games import WATCHED
from experiments.adversarial.judges import Judge
from experiments.adversarial.models import RECIPES, LossName, Recipe
from experiments.adversarial.pictures import add_health
from experiments.running.config import RunConfig
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Training
from experiments.running.options import UsageError, free, require_at_least, where
from experiments.running.run import run
from experiments.running.terminal import main
from experiments.text import agreement, pictures
from experiments.text.captions import DIGITS, Sentences, open_captions, test_parts
from experiments.text.scores import Scorer, as_metrics, as_table
from experiments.text.sources import VectorsConfig, embedder_of, prepare, with_vectors
from gen_jax import data, reporting, training
from gen_jax.adversarial import StyleEncoder, TextDiscriminator, TextGenerator, losses
from gen_jax.adversarial import text_to_image as game
from gen_jax.adversarial.gan import GANState
from gen_jax.typing import Array, Batch, PRNGKey

CHUNK = 200  # images made at a time: one compiled shape for all numbers of them


def with_interpolation(default: Any) -> Any:
    """A field that applies only where captions are interpolated."""
    return where(default, lambda config: "int" in config.objective, "--objective int or int-cls")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VectorsConfig, RunConfig):
    """Train and evaluate a GAN that makes images of sentences."""

    objective: Literal["gan", "cls", "int", "int-cls"] = "int-cls"
    """cls shows the discriminator real images under wrong captions as well, int has the generator
    make images of captions between two."""
    beta: float = with_interpolation(0.5)
    """Where between two captions: the share of the first."""
    interpolation_weight: float = with_interpolation(1.0)
    """Of the generator's loss at interpolated captions."""
    loss: LossName = "non-saturating"
    """What both players minimize, as in gan."""
    latent_dim: int = 100
    """Numbers of noise that an image is made from, beside its caption."""
    text_dim: int = 128
    """Numbers that each network brings a caption's vector down to."""
    features: int = 128
    """Maps of the generator at the finest resolution, as in gan."""
    discriminator_features: int | None = None
    """Maps of the discriminator's first layer; default half as many as the generator's."""
    batch_size: int = 64
    """Images an update, over all devices."""
    learning_rate: float = 2e-4
    watched_samples: int = 500
    """Sentences whose images are scored along the way."""
    inception: Path | None = free(None)
    """Weights of FID's Inception network (see convert_inception); default a shipped network. Not
    for captioned-digits, whose gray levels the shipped classifier reads."""
    style_steps: int = free(500)
    """Updates of a style encoder, which learns for the report once the generator is trained; 0
    leaves it out."""

    def __post_init__(self):
        super().__post_init__()
        names = ("latent_dim", "text_dim", "features", "discriminator_features")
        require_at_least(1, self, *names)
        require_at_least(20, self, "watched_samples")
        require_at_least(0, self, "style_steps")
        if not 0.0 <= self.beta <= 1.0:
            raise UsageError(f"--beta must lie in [0, 1], got {self.beta}")
        if not self.interpolation_weight > 0.0:
            raise UsageError(
                f"--interpolation-weight must be positive, got {self.interpolation_weight}"
            )

    @property
    def recipe(self) -> Recipe:
        """The loss with what trains it well."""
        return RECIPES[self.loss]

    @property
    def examples_per_step(self) -> int:
        """Images that a step reads: new ones for each update of the discriminator."""
        return self.batch_size * self.recipe.d_steps

    @property
    def axis_name(self) -> str | None:
        """The axis whose devices share batch statistics."""
        return "data" if self.compile == "pmap" else None

    @property
    def shared(self) -> dict[str, Any]:
        """What all networks are built with."""
        return {"axis_name": self.axis_name, "dtype": self.compute_dtype}

    def train_step(self) -> Any:
        """The game's step with the objective."""
        recipe = self.recipe
        interpolated = {"interpolated": self.interpolation_weight, "beta": self.beta}
        return functools.partial(
            game.train_step,
            loss=recipe.loss,
            d_steps=recipe.d_steps,
            penalty=recipe.penalty and losses.weighted(recipe.penalty, recipe.penalty_weight),
            mismatched="cls" in self.objective,
            **interpolated if "int" in self.objective else {},
        )


PRESETS = {
    "smoke": Config(
        steps=8,
        batch_size=16,
        letters=128,
        latent_dim=4,
        text_dim=4,
        features=4,
        evaluations=2,
        scored_samples=40,
        watched_samples=40,
        style_steps=2,
    ),
    "default": Config(
        steps=2000,
        letters=128,
        latent_dim=32,
        text_dim=64,
        features=32,
        learning_rate=4e-4,
        ema_decay=0.99,
        evaluations=6,
    ),
    "paper": Config(dataset="emoji:64", epochs=600, decay_epochs="run"),
}


def build(config: Config, spec: data.ExampleSpec, n_examples: int) -> Setup:
    """Makes both networks, their step, and what is measured and drawn of them."""
    embedder = embedder_of(config, spec.shape)
    spec = dataclasses.replace(spec, vector=spec.vector or (embedder and embedder.size))
    digits = config.dataset == DIGITS
    judge = agreement.judge() if digits else Judge.of(spec.shape, config.inception)
    scorer = Scorer(embedder, judge, digits, config.seed)
    keys = iter(jax.random.split(jax.random.key(config.seed), 5))
    init_key, film_key, watch_key, test_key, picture_key = keys
    eval_step = training.compile_eval(game.eval_step)
    init = functools.partial(
        game.init,
        *networks(config, spec.shape),
        *config.recipe.optimizers(config.rate(n_examples)),
        ema_decay=config.ema_decay,
    )

    def sentences(part: data.Captioned, n: int) -> Sentences:
        return Sentences.of(with_vectors(data.part(part, n), embedder), n)

    def validate(state: GANState, splits: Splits) -> Mapping[str, float]:
        made = functools.partial(draw, watch_key, state)
        watched = sentences(splits.validation, config.watched_samples)
        said = watched.vector
        assert said is not None
        batches = {
            "training": data.some(splits.train, WATCHED),
            "held_out": data.some(splits.validation, WATCHED),
            "generated": {"image": made(said), "vector": said[:, None]},
        }
        logits = {
            f"{who}/logit": float(np.mean(eval_step(state, batch)["logit"]))
            for who, batch in batches.items()
        }
        return logits | scorer.score(made, watched)

    def test(state: GANState, dataset: data.Captioned) -> Mapping[str, float | int | str]:
        metrics: dict[str, float | int | str] = {}
        for prefix, part in test_parts(config, dataset).items():
            made = functools.partial(draw, test_key, state)
            metrics |= as_metrics(scorer.rows(made, sentences(part, config.scored_samples)), prefix)
        return metrics | scorer.provenance(dataset)

    def film(state: GANState, splits: Splits) -> np.ndarray:
        few = sentences(splits.validation, 8)
        assert few.vector is not None
        return pictures.of_each(draw, film_key, state, few.vector, 8)

    def add_pictures(state: GANState, splits: Splits, run_dir: Path) -> None:
        add_health(run_dir, critic=config.recipe.critic)
        sample_key, walk_key, style_key = jax.random.split(picture_key, 3)
        for prefix, part in test_parts(config, splits.test).items():
            name = prefix.removeprefix("test/").strip("/") or "test"
            few = sentences(part, pictures.SENTENCES)
            pictures.add_samples(run_dir, draw, state, sample_key, name, few)
        few = sentences(splits.test, pictures.SENTENCES)
        pictures.add_walks(run_dir, state, walk_key, few)
        if config.style_steps:
            pictures.add_styles(
                run_dir,
                state,
                style_key,
                splits.train,
                few,
                encoder=StyleEncoder(config.features, latent_dim=config.latent_dim),
                steps=config.style_steps,
                seed=config.seed,
            )

    def illustrate(key: PRNGKey, state: GANState, texts: Sequence[str], n: int) -> np.ndarray:
        if embedder is None:
            raise UsageError(
                f"this run's captions were embedded elsewhere, in {config.embeddings}: it cannot "
                "read --text"
            )
        return pictures.of_each(draw, key, state, embedder.conditions_of(texts), n)

    return Setup(
        init=lambda train: jax.jit(init)(jax.random.clone(init_key), spec.blank()),
        train_step=config.train_step(),
        validate=validate,
        film=film,
        test=test,
        pictures=add_pictures,
        table=add_table,
        best=("fid", "min") if judge else None,
        ready=lambda: judge and judge.network,
        illustrate=illustrate,
    )


def networks(config: Config, shape: tuple[int, ...]) -> tuple[TextGenerator, TextDiscriminator]:
    """The generator and the discriminator that a config asks for."""
    image_shape: Any = shape
    return TextGenerator(
        config.features,
        image_shape=image_shape,
        latent_dim=config.latent_dim,
        text_dim=config.text_dim,
        **config.shared,
    ), TextDiscriminator(
        config.discriminator_features or max(1, config.features // 2),
        text_dim=config.text_dim,
        **config.recipe.norm_options,
        **config.shared,
    )


def draw(key: PRNGKey, state: GANState, vectors: np.ndarray) -> np.ndarray:
    """An image of each vector [n, D], from noise of its own: uint8, made in chunks."""
    n = len(vectors)
    filled = np.pad(vectors, ((0, max(0, CHUNK - n)), (0, 0)))
    batch = {"vector": filled, "number": np.arange(len(filled))}
    return _drawn().in_chunks((key, state), batch, CHUNK)[:n]


@functools.cache
def _drawn() -> training.CompiledEval:
    return training.compile_eval(_draw, training.local_mesh())


def _draw(given: tuple[PRNGKey, GANState], batch: Batch) -> Array:
    key, state = given
    return game.sample(state, key, batch["vector"], batch["number"])


def add_table(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Adds the test's numbers: a set of sentences a row."""
    prefixes = {"test/": "test", "test/held-out/": "held-out combinations"}
    columns, rows = as_table(metrics, prefixes)
    reporting.add_table(
        run_dir,
        "scores",
        columns,
        rows,
        title="Do images show what their sentences say?",
        caption=note(metrics),
    )


def note(metrics: Mapping[str, Any]) -> str:
    """What the table's numbers are."""
    return (
        "Shares of the images whose sentence says it. Retrieved: the sentence is not wrong for the "
        f"nearest real image, by the image encoder. FID by {metrics['features']}."
    )


EXPERIMENT = Training(
    "text_to_image", __doc__, PRESETS, build=build, open=open_captions, prepare=prepare
)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
