"""An adversarial game as a run: what is watched while it is played, and how it is judged."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.adversarial import scores as scoring
from experiments.adversarial.models import GameConfig
from experiments.adversarial.pictures import add_pictures
from experiments.running.harness import Setup, Splits
from gen_jax import evaluation
from gen_jax.adversarial.gan import GANState, n_classes
from gen_jax.data import some

WATCHED = 500  # images of each kind that the discriminator is asked about


@dataclasses.dataclass(frozen=True)
class Game:
    """How two players begin, their step, and what D says of images.

    ``init`` takes a key and an example; ``eval_step`` gives a metric of each image by the name
    ``says``.
    """

    init: Callable[..., GANState]
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]
    says: Literal["logit", "error"]
    critic: bool = False


def game_setup(config: GameConfig, splits: Splits, game: Game) -> Setup:
    """A run's setup: along the way FID and what D says of training, held-out, generated images."""
    init_key, film_key, watch_key, test_key, picture_key = jax.random.split(
        jax.random.key(config.seed), 5
    )
    shape = splits.train.image_shape
    example = jnp.zeros((1, *shape), jnp.uint8)
    eval_step = jax.jit(game.eval_step)
    judge = scoring.Judge.of(shape)
    held_out = judge(some(splits.validation, config.watched_samples)["image"]) if judge else None

    def what_d_says(state: GANState, generated: np.ndarray) -> dict[str, float]:
        """D's mean word on training, held-out and generated images."""
        classes = n_classes(state.generator.model)
        asked: dict[str, Any] = {
            "training": some(splits.train, WATCHED),
            "held_out": some(splits.validation, WATCHED),
            "generated": {"image": generated},
        }
        if classes is not None:
            asked["generated"]["label"] = np.arange(len(generated)) % classes
        return {
            f"{who}/{game.says}": float(np.mean(eval_step(state, batch)[game.says]))
            for who, batch in asked.items()
        }

    def validate(state: GANState) -> Mapping[str, float]:
        images = scoring.draw(watch_key, state, config.watched_samples)
        metrics = what_d_says(state, images[:WATCHED])
        if judge is not None and held_out is not None:
            made = judge(images)
            metrics["fid"] = evaluation.fid(held_out.features, made.features)
            metrics["classes_covered"] = scoring.classes(made).covered
        return metrics

    def test(state: GANState) -> Mapping[str, float | int | str]:
        if judge is None:
            return {"features": "none: no shipped network reads images of this size"}
        made = scoring.draw(test_key, state, config.scored_samples)
        measured = scoring.scores(judge, made, splits.test, config.dataset, seed=config.seed)
        return scoring.as_metrics(measured)

    def pictures(state: GANState, run_dir: Path) -> None:
        add_pictures(
            run_dir,
            state,
            picture_key,
            splits.train,
            judge=judge,
            critic=game.critic,
        )

    return Setup(
        state=jax.jit(game.init)(init_key, example),
        train_step=game.train_step,
        validate=validate,
        film=lambda state: scoring.draw(film_key, state, 64),
        test=test,
        pictures=pictures,
        best=("fid", "min") if judge else None,
        draw=scoring.draw,
    )
