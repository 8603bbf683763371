"""A model of translations as a run: what is watched along the way, and how it is judged."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.adversarial.judges import Judge
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Translation
from experiments.running.tables import as_metrics
from experiments.translation import pictures
from experiments.translation.models import TranslationConfig
from experiments.translation.scores import Scorer
from experiments.translation.tasks import Baseline
from experiments.translation.ways import CHUNK, Way
from gen_jax import data, evaluation, training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translator:
    """How a model of translations begins, its step, and the ways that it goes.

    ``init`` is a function of a key and a batch. ``least`` is the least side of an image that it
    translates, ``stochastic`` says that one source has several translations, ``prepare`` and
    ``picture_channels`` are those of ``Translation``, and ``baselines`` are what it is measured
    beside. ``watch`` is a step of evaluation whose means are watched along the way as well.
    """

    init: Callable[..., Any]
    train_step: Callable[..., Any]
    ways: tuple[Way, ...]
    baselines: Mapping[str, Baseline]
    least: int
    stochastic: bool = False
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    picture_channels: int | None = None
    watch: evaluation.EvalStep | None = None


def translation_setup(
    config: TranslationConfig, spec: data.ExampleSpec, translator: Translator
) -> Setup:
    """A run's setup: along the way how near translations come, where that can be measured."""
    init_key, watch_key, test_key, picture_key = jax.random.split(jax.random.key(config.seed), 4)
    ways = translator.ways
    judge = Judge.of(spec.shape, config.inception)
    scorer = Scorer(judge, translator.baselines, seed=config.seed)
    watch = translator.watch and training.compile_eval(translator.watch)

    def validate(state: Any, splits: Splits) -> Mapping[str, float]:
        watched = data.part(splits.validation, config.watched)
        metrics = {
            f"{way.prefix}{name}": value
            for way in ways
            for name, value in scorer.quick(way, state, watch_key, watched).items()
        }
        if watch is None:
            return metrics
        return metrics | evaluation.average(watch, state, data.evaluation_batches(watched, CHUNK))

    def film(state: Any, splits: Splits) -> np.ndarray:
        return pictures.film(ways, state, watch_key, splits.validation)

    def test(state: Any, dataset: Any) -> Mapping[str, float | int | str]:
        rows = {way.prefix: scorer.rows(way, state, test_key, dataset) for way in ways}
        metrics: dict[str, float | int | str] = {}
        for prefix, found in rows.items():  # first the translations, of every way
            metrics |= as_metrics({"": found[""]}, f"test/{prefix}")
        for prefix, found in rows.items():
            metrics |= as_metrics(found, f"test/{prefix}")
        return metrics | scorer.provenance(dataset)

    def add_pictures(state: Any, splits: Splits, run_dir: Path) -> None:
        pictures.add_pictures(
            run_dir, ways, state, picture_key, splits, stochastic=translator.stochastic
        )

    source, made = spec.spatial or spec.shape, spec.shape
    return Setup(
        init=lambda train: training.compile_once(translator.init)(
            jax.random.clone(init_key), spec.blank()
        ),
        train_step=translator.train_step,
        validate=validate,
        film=film,
        test=test,
        pictures=add_pictures,
        table=functools.partial(pictures.add_table, ways=ways),
        best=None,
        ready=lambda: judge and judge.network,
        translation=Translation(
            translate=ways[0].of_any_size,
            channels=source[-1],
            made_channels=made[-1],
            least=translator.least,
            stochastic=translator.stochastic,
            backward=ways[1].of_any_size if len(ways) > 1 else None,
            prepare=translator.prepare,
            picture_channels=translator.picture_channels,
        ),
    )
