"""An adversarial game as a run: what is watched while it is played, and how it is judged."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import adversarial_scores as scoring
from experiments.adversarial_models import GameConfig
from experiments.adversarial_pictures import add_pictures
from experiments.harness import Setup, Splits
from gen_jax import data, evaluation
from gen_jax.adversarial.gan import GANState, Prior, n_classes
from gen_jax.typing import PRNGKey

WATCHED = 500  # images of each kind that the discriminator is asked about


@dataclasses.dataclass(frozen=True)
class Game:
    """Two players before their first move, their step, and what D is asked of images.

    ``judged`` names what D says of an image, and gives it for a batch, [B].
    """

    state: GANState
    train_step: Callable[..., Any]
    prior: Prior
    judged: tuple[str, Callable[[Any, dict[str, np.ndarray]], np.ndarray]]
    critic: bool = False


def game_setup(config: GameConfig, splits: Splits, game: Game) -> Setup:
    """A run's setup: along the way FID and what D says of training, held-out, generated images."""
    key = jax.random.key(config.seed)
    film_key, watch_key, test_key, picture_key = (jax.random.fold_in(key, i) for i in range(1, 5))
    judge = scoring.Judge.of(splits.train.image_shape)
    held_out = judge(first(splits.validation, config.watched_samples)) if judge else None

    def draw(key: PRNGKey, state: GANState, n: int) -> np.ndarray:
        return scoring.draw(game.prior, key, state.generator, n)

    def validate(state: GANState) -> Mapping[str, float]:
        images = draw(watch_key, state, config.watched_samples)
        metrics = what_d_says(game, splits, state, images[:WATCHED])
        if judge is not None and held_out is not None:
            made = judge(images)
            metrics["fid"] = evaluation.fid(held_out.features, made.features)
            metrics["classes_covered"] = scoring.classes(made).covered
        return metrics

    def test(state: GANState) -> Mapping[str, float | int | str]:
        if judge is None:
            return {"features": "none: no shipped network reads images of this size"}
        made = draw(test_key, state, config.scored_samples)
        measured = scoring.scores(judge, made, splits.test, config.dataset, seed=config.seed)
        return scoring.as_metrics(measured)

    def pictures(state: GANState, run_dir: Path) -> None:
        add_pictures(
            run_dir,
            state.generator,
            picture_key,
            game.prior,
            splits.train,
            judge=judge,
            critic=game.critic,
        )

    return Setup(
        state=game.state,
        train_step=game.train_step,
        validate=validate,
        film=lambda state: draw(film_key, state, 64),
        test=test,
        pictures=pictures,
        best=("fid", "min") if judge else (f"held_out/{game.judged[0]}", "max"),
        draw=draw,
    )


def first(dataset: data.Dataset, n: int) -> np.ndarray:
    """The first ``n`` images of a set, or all."""
    return dataset.take(np.arange(min(len(dataset), n)))["image"]


def what_d_says(
    game: Game, splits: Splits, state: GANState, generated: np.ndarray
) -> dict[str, float]:
    """D's mean word on training, held-out and generated images."""
    name, judge = game.judged
    classes = n_classes(state.generator.model)

    def mean(images: np.ndarray, label: np.ndarray | None) -> float:
        batch = {"image": images} if label is None else {"image": images, "label": label}
        return float(judge(state, batch).mean())

    said = {}
    for who, dataset in (("training", splits.train), ("held_out", splits.validation)):
        batch = dataset.take(np.arange(min(len(dataset), WATCHED)))
        label = None if classes is None else batch["label"]
        said[f"{who}/{name}"] = mean(batch["image"], label)
    label = None if classes is None else np.arange(len(generated)) % classes
    said[f"generated/{name}"] = mean(generated, label)
    return said
