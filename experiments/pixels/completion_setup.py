"""A run that completes images: what is watched along the way, measured, and shown of it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.pixels.completions import (
    Calibration,
    Completer,
    answers,
    calibration,
    colourless_bits,
    columns,
    exchanged,
    mean_image,
)
from experiments.running.experiment import Splits
from experiments.running.fitting import Setup, Translation
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.tables import Columns, as_metrics
from experiments.translation.pictures import notes, sheet, side_by_side
from experiments.translation.scores import as_table
from experiments.translation.scores import colourfulness as colourfulness_of
from experiments.translation.tasks import Task
from gen_jax import data, reporting, training
from gen_jax.state import TrainState
from gen_jax.typing import PRNGKey

SHOWN, WATCHED = 12, 6  # sources in the report, and along the way
DRAWS = 5  # of one source in the report
RIVAL_CHUNK = 50  # images that pix2pix makes at a time
PREFIX = "completed/"  # of what is measured of the images that are completed
Rival = Callable[[np.ndarray], np.ndarray]

LIKELIHOODS = {
    "own": "test images, given their own sources",
    "other": "test images, given the sources of others",
    "drawn": "the model's draws, given the same sources",
    "colourless": "any colour of its gray level, for each pixel",
}


def completion_setup(
    setup: Setup, config: Any, spec: data.ExampleSpec, task: Task, completer: Completer
) -> Setup:
    """The setup of a model of images, made that of one which completes them."""
    key = jax.random.fold_in(jax.random.key(config.seed), 4)
    film_key, test_key, picture_key = jax.random.split(key, 3)
    rival = functools.cache(lambda: open_rival(config, spec))
    levels = None if config.likelihood == "bernoulli" else config.levels

    def film(state: TrainState, splits: Splits) -> np.ndarray:
        rows, _ = strips(completer, film_key, state, splits.validation, WATCHED, shown=2, draws=2)
        return sheet(rows)[None]

    def test(state: TrainState, test: data.AnyDataset) -> Mapping[str, float | int | str]:
        metrics = {**setup.test(state, test)}
        measured = data.some(test, config.completed_images)
        return metrics | measure(
            completer,
            test_key,
            state,
            measured,
            task,
            draws=config.draws,
            levels=levels,
            rival=rival(),
        )

    def pictures(state: TrainState, splits: Splits, run_dir: Path) -> None:
        add_pictures(
            run_dir, completer, picture_key, state, splits.test, config.draws, rival=rival()
        )

    height, width, made_channels = spec.shape
    assert spec.spatial is not None
    return dataclasses.replace(
        setup,
        film=film,
        test=test,
        pictures=pictures,
        table=add_tables,
        ready=rival,
        draw=None,
        translation=Translation(
            translate=completer.by_keys,
            channels=spec.spatial[-1],
            made_channels=made_channels,
            least=min(height, width),
            stochastic=True,
            prepare=task.prepare,
            picture_channels=task.picture_channels,
            size=(height, width),
        ),
    )


def open_rival(config: Any, spec: data.ExampleSpec) -> Rival | None:
    """What the pix2pix of ``config.beside`` makes of sources; None where no run is named.

    Raises ``UsageError`` for a run of another task or size.
    """
    if config.beside is None:
        return None
    try:
        run = reopen(config.beside, among=("pix2pix",))
    except training.RunError as error:
        raise UsageError(f"--beside: {error}") from None
    task = getattr(run.config, "task", None)
    if task != config.task:
        raise UsageError(
            f"--beside takes a pix2pix run of --task {config.task}: {config.beside} is one of "
            f"{task}"
        )
    if (run.spec.shape, run.spec.spatial) != (spec.shape, spec.spatial):
        raise UsageError(
            f"--beside takes a run on images of {list(spec.shape)}: {config.beside} is on "
            f"{list(run.spec.shape)}"
        )
    translation = run.setup.translation
    assert translation is not None
    key = jax.random.key(config.seed)

    def translate(source: np.ndarray) -> np.ndarray:
        made = []
        for start in range(0, len(source), RIVAL_CHUNK):
            part = source[start : start + RIVAL_CHUNK]
            keys = jax.random.split(jax.random.fold_in(key, start), len(part))
            made.append(translation.translate(run.state, keys, part))
        return np.concatenate(made)

    return translate


def measure(
    completer: Completer,
    key: PRNGKey,
    state: TrainState,
    examples: Mapping[str, np.ndarray],
    task: Task,
    *,
    draws: int,
    levels: int | None,
    rival: Rival | None = None,
) -> dict[str, float | int]:
    """The scores of what several draws make of each source, beside those of what else could be
    given, and the calibration of the likelihood, which is over so many ``levels`` (None: over black
    and white)."""
    source, target = examples["spatial"], examples["image"]
    state = dataclasses.replace(state, key=key)  # not the key that training used
    drawn = completer.draws(key, state, source, draws)
    bits = np.stack([completer.bits_per_dim(state, x, source) for x in drawn])
    images = answers(drawn, bits, target)
    if rival is not None:
        images["pix2pix"] = rival(source)
    images |= {name: given(source, target) for name, given in task.baselines.items()}
    rows: dict[str, Columns] = {name: columns(made, target) for name, made in images.items()}
    if target.shape[-1] == 3:
        rows["truth"] = {"colourfulness": colourfulness_of(target)}
    found = calibration(
        completer.bits_per_dim(state, target, source),
        completer.bits_per_dim(state, *exchanged(target, source, task.hole)),
        bits,
    )
    colourless = colourless_bits(source, levels) if task.in_colour and levels else None
    counts = {f"{PREFIX}images": len(source), f"{PREFIX}draws": draws}
    return as_metrics(rows) | as_calibration(found, colourless) | counts


def as_calibration(found: Calibration, colourless: float | None) -> dict[str, float]:
    """The metrics of a calibration, and beside it the bits of knowing no colours, if known."""
    metrics = {f"{PREFIX}bits_per_dim/{name}": getattr(found, name) for name in found._fields[:3]}
    if colourless is not None:
        metrics[f"{PREFIX}bits_per_dim/colourless"] = colourless
    return metrics | {f"{PREFIX}likelier": found.likelier}


# What the report shows


def strips(
    completer: Completer,
    key: PRNGKey,
    state: TrainState,
    dataset: data.AnyDataset,
    n: int,
    *,
    shown: int,
    draws: int,
    rival: Rival | None = None,
) -> tuple[np.ndarray, list[str]]:
    """``n`` strips [n, columns, H, W, C], and what each column is."""
    examples = data.some(dataset, n)
    source, target = examples["spatial"], examples["image"]
    drawn = completer.draws(key, state, source, draws)
    found = {"the source": [source], f"{shown} draws": list(drawn[:shown])}
    if draws > shown:
        found[f"the mean of {draws}"] = [mean_image(drawn)]
    if rival is not None:
        found["pix2pix"] = [rival(source)]
    found["the truth"] = [target]
    return side_by_side([image for part in found.values() for image in part]), list(found)


def add_pictures(
    run_dir: Path,
    completer: Completer,
    key: PRNGKey,
    state: TrainState,
    test: data.AnyDataset,
    draws: int,
    *,
    rival: Rival | None,
) -> None:
    """Adds test images, several draws for each source."""
    shown = min(DRAWS, draws)
    rows, names = strips(completer, key, state, test, SHOWN, shown=shown, draws=draws, rival=rival)
    reporting.add_picture(
        run_dir,
        "completions",
        sheet(rows),
        title="Completions",
        caption=f"Test images, not chosen. From the left: {', '.join(names)}.",
    )


def add_tables(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Adds the scores of completions beside those of baselines, and the likelihoods."""
    titles, rows = as_table(metrics)
    n, draws = metrics[f"{PREFIX}images"], metrics[f"{PREFIX}draws"]
    reporting.add_table(
        run_dir,
        "test-scores",
        titles,
        rows,
        title="Test scores",
        caption=f"Means over {n} test images. Best of {draws} by likelihood: the likeliest of the "
        "draws, which needs no truth. By PSNR: the draw nearest to the truth, which only the truth "
        f"can choose. {notes(titles, rows)}",
    )
    bits = {name: metrics.get(f"{PREFIX}bits_per_dim/{name}") for name in LIKELIHOODS}
    likelier = metrics[f"{PREFIX}likelier"]
    reporting.add_table(
        run_dir,
        "likelihoods",
        ["images", "bits/dim"],
        [(LIKELIHOODS[name], value) for name, value in bits.items() if value is not None],
        title="Likelihood",
        caption=f"Of the dimensions that the source hides, over {n} test images. Of the draws, "
        f"{likelier:.0%} are likelier than the truth; half would be if the model were the true "
        "distribution, and its draws would then have as many bits as test images have.",
    )
