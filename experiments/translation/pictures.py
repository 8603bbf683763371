"""What a translation's report shows: sources beside what was made of them, and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.adversarial.pictures import add_health
from experiments.running.experiment import Splits
from experiments.translation.scores import as_table, truth_known
from experiments.translation.ways import Way
from gen_jax import data, evaluation, images, reporting
from gen_jax.typing import PRNGKey

SHOWN = 12  # sources
DRAWS = 3  # translations of one source, where they differ
SLIDERS = 4
NOTES = {  # by the column or the row that needs one
    "identity": "Identity is the source as it is.",
    "retrieved": "Retrieved: the share of translations whose own true image is the nearest of all; "
    "among 5: is one of the five nearest.",
    "FID": "FID, KID, precision and recall by {features}.",
}


def strips(
    ways: Sequence[Way],
    state: Any,
    key: PRNGKey,
    dataset: data.AnyDataset,
    n: int,
    *,
    draws: int = 1,
) -> list[np.ndarray]:
    """For each way ``n`` strips [n, columns, H, W, C]: the source, ``draws`` translations, the way
    back where there is one, and the truth where it is known."""
    examples = data.some(dataset, n)
    found = []
    for place, way in enumerate(ways):
        source, target = examples[way.source], examples[way.target]
        keys = (jax.random.fold_in(key, draw) for draw in range(draws))
        columns = [source, *(way(state, own, source) for own in keys)]
        if len(ways) == 2:
            columns.append(ways[1 - place](state, key, columns[1]))
        if truth_known(dataset):
            columns.append(target)
        found.append(side_by_side(columns))
    return found


def side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of images [n, H, W, C] as strips [n, columns, H, W, C], all RGB where some are."""
    channels = max(x.shape[-1] for x in columns)
    return np.stack([evaluation.baselines.identity(x, channels) for x in columns], axis=1)


def film(ways: Sequence[Way], state: Any, key: PRNGKey, dataset: data.AnyDataset) -> np.ndarray:
    """Strips of the same images each time, as one picture [1, H, W, C]."""
    return sheet(np.concatenate(strips(ways, state, key, dataset, SHOWN // len(ways))))[None]


def sheet(rows: np.ndarray) -> np.ndarray:
    """Strips [n, columns, H, W, C] as one picture: two to a row where they are short."""
    framed = [images.grid(strip, columns=len(strip)) for strip in rows]
    return images.grid(np.stack(framed), columns=_per_row(rows))


def _per_row(rows: np.ndarray) -> int:
    return 2 if rows.shape[1] <= 4 and len(rows) > 1 else 1


def _in_words(way: Way) -> str:
    """Which way, where there are several: ``forward (a to b)``."""
    name = way.prefix.strip("/")
    return f", {name} ({way.source} to {way.target})" if name else ""


def add_pictures(
    run_dir: Path,
    ways: Sequence[Way],
    state: Any,
    key: PRNGKey,
    splits: Splits,
    *,
    stochastic: bool,
) -> None:
    """Adds the health of the games, strips of test images, and sliders."""
    add_health(run_dir, *(way.prefix for way in ways if way.prefix))
    draws = DRAWS if stochastic else 1
    for way, rows in zip(
        ways, strips(ways, state, key, splits.test, SHOWN, draws=draws), strict=True
    ):
        name = way.prefix.strip("/") or "translations"
        parts = ["the source", "its translation" if draws == 1 else f"{draws} translations"]
        parts += ["translated back"] * (len(ways) == 2) + ["the truth"] * truth_known(splits.test)
        two = " Two sources to a row." if _per_row(rows) == 2 else ""
        reporting.add_picture(
            run_dir,
            name,
            sheet(rows),
            title=f"Translations{_in_words(way)}",
            caption=f"Test images, not chosen. From the left: {', '.join(parts)}.{two}",
        )
        reporting.add_slider(
            run_dir,
            f"{name}-slider",
            list(rows[:SLIDERS, 0]),
            list(rows[:SLIDERS, 1]),
            title=f"Before and after{_in_words(way)}",
            caption="Move the border: by pointer, or by the arrow keys.",
            labels=("source", "translation"),
        )


def add_table(run_dir: Path, metrics: Mapping[str, Any], *, ways: Sequence[Way]) -> None:
    """Adds the test's numbers, the translations' beside those of the baselines."""
    for way in ways:
        columns, rows = as_table(metrics, f"test/{way.prefix}")
        reporting.add_table(
            run_dir,
            f"{way.prefix.strip('/') or 'test'}-scores",
            columns,
            rows,
            title=f"Test scores{_in_words(way)}",
            caption=notes(columns, rows).format(features=metrics["features"]),
        )


def notes(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """What the columns and the rows of a table mean, where their names do not say it."""
    shown = {*columns, *(row[0] for row in rows)}
    return " ".join(words for title, words in NOTES.items() if title in shown)
