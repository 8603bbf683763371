"""An adversarial game as a run: what is watched while it is played, and how it is judged."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.adversarial import scores as scoring
from experiments.adversarial.judges import Judge
from experiments.adversarial.models import GameConfig
from experiments.adversarial.pictures import add_pictures
from experiments.running.experiment import Splits, open_images, require_examples
from experiments.running.fitting import Setup
from gen_jax import data, evaluation, training
from gen_jax.adversarial.gan import GANState, n_classes
from gen_jax.typing import PRNGKey

WATCHED = 500  # images of each kind that the discriminator scores
LEAST = {"validation": 2, "test": 6}  # images that a covariance needs; that five neighbours need


def open_scored(config: GameConfig, split: str) -> data.Dataset:
    """One part of the config's images.

    Raises ``UsageError`` where a network at hand scores generated images by them, and there are too
    few.
    """
    part = open_images(config, split)
    if judge_at_hand(part.example_spec, config) is not None:
        require_examples(part, LEAST.get(split, 1))
    return part


def judge_at_hand(spec: data.ExampleSpec, config: GameConfig) -> Judge | None:
    """The network that reads images of this kind, where there is one."""
    return Judge.of(spec.shape, config.inception)


@dataclasses.dataclass(frozen=True)
class Game:
    """How two players begin, their step, what D says of images, and how the game is shown.

    ``init(train)`` is a function of a key and a batch; ``eval_step`` gives a metric of each image
    by the name ``says``. ``draw(key, state, n)`` makes uint8 images, ``judge(spec, config)`` finds
    the network that scores them (None: they are not scored), and ``pictures`` adds to the report.
    """

    init: Callable[[data.AnyDataset], Callable[..., GANState]]
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]
    says: Literal["logit", "error"]
    critic: bool = False
    draw: Callable[[PRNGKey, GANState, int], np.ndarray] = scoring.draw
    judge: Callable[[data.ExampleSpec, GameConfig], Judge | None] = judge_at_hand
    pictures: Callable[..., None] = add_pictures


def game_setup(config: GameConfig, spec: data.ExampleSpec, game: Game) -> Setup:
    """A run's setup: along the way FID and what D says of training, held-out, generated images."""
    init_key, film_key, watch_key, test_key, picture_key = jax.random.split(
        jax.random.key(config.seed), 5
    )
    example = spec.blank()
    eval_step = training.compile_eval(game.eval_step)
    judge = game.judge(spec, config)

    @functools.lru_cache(maxsize=1)  # the same images each time
    def held_out(validation: data.Dataset) -> np.ndarray:
        assert judge is not None
        return judge(data.some(validation, config.watched_samples)["image"]).features

    def what_d_says(state: GANState, generated: np.ndarray, splits: Splits) -> dict[str, float]:
        """D's mean output on training, held-out and generated images."""
        classes = n_classes(state.generator.model)
        batches: dict[str, Any] = {
            "training": data.some(splits.train, WATCHED),
            "held_out": data.some(splits.validation, WATCHED),
            "generated": {"image": generated},
        }
        if classes is not None:
            batches["generated"]["label"] = np.arange(len(generated), dtype=np.int32) % classes
        return {
            f"{who}/{game.says}": float(np.mean(eval_step(state, batch)[game.says]))
            for who, batch in batches.items()
        }

    def validate(state: GANState, splits: Splits) -> Mapping[str, float]:
        images = game.draw(watch_key, state, config.watched_samples)
        metrics = what_d_says(state, images[:WATCHED], splits)
        if judge is not None:
            made = judge(images)
            metrics["fid"] = evaluation.fid(held_out(splits.validation), made.features)
            if judge.knows_digits:
                metrics["classes_covered"] = scoring.classes(made).covered
        return metrics

    def test(state: GANState, dataset: data.Dataset) -> Mapping[str, float | int | str]:
        if judge is None:
            return {"features": "none: no network at hand reads images of this kind"}
        made = game.draw(test_key, state, config.scored_samples)
        measured = scoring.scores(judge, made, dataset, seed=config.seed)
        return scoring.as_metrics(measured)

    def pictures(state: GANState, splits: Splits, run_dir: Path) -> None:
        game.pictures(run_dir, state, picture_key, splits.train, judge=judge, critic=game.critic)

    return Setup(
        init=lambda train: training.compile_once(game.init(train))(
            jax.random.clone(init_key), example
        ),
        train_step=game.train_step,
        validate=validate,
        film=lambda state, splits: game.draw(film_key, state, 64),
        test=test,
        pictures=pictures,
        best=("fid", "min") if judge else None,
        ready=lambda: judge and judge.network,
        draw=game.draw,
    )
