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
        channels = max(x.shape[-1] for x in columns)
        found.append(
            np.stack([evaluation.baselines.identity(x, channels) for x in columns], axis=1)
        )
    return found


def film(ways: Sequence[Way], state: Any, key: PRNGKey, dataset: data.AnyDataset) -> np.ndarray:
    """Strips of the same images each time: as many as a square sheet holds two of in a row.

    Where there are few it has one in a row, and gray in the place of what is missing: a square
    number of images, so that strips stay whole.
    """
    columns = 1 + len(ways) + truth_known(dataset)
    rows = np.concatenate(strips(ways, state, key, dataset, 4 * columns // len(ways)))
    wanted = 4 * columns if len(rows) > columns else columns
    missing = [(0, wanted - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    sheet = np.pad(rows, missing, constant_values=128)
    return sheet.reshape(-1, *sheet.shape[2:])


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
        parts += ["back again"] * (len(ways) == 2) + ["the truth"] * truth_known(splits.test)
        columns = rows.shape[1] * (2 if rows.shape[1] <= 4 else 1)
        reporting.add_picture(
            run_dir,
            name,
            images.grid(rows.reshape(-1, *rows.shape[2:]), columns=columns),
            title=name.capitalize(),
            caption=f"Test images, not chosen: {', '.join(parts)}.",
        )
        reporting.add_slider(
            run_dir,
            f"{name}-slider",
            list(rows[:SLIDERS, 0]),
            list(rows[:SLIDERS, 1]),
            title="Before and after",
            caption="Move the bar: the source on its left, the translation on its right.",
        )


def add_table(run_dir: Path, metrics: Mapping[str, Any], *, ways: Sequence[Way]) -> None:
    """Adds the test's numbers, the translations' beside those of the baselines."""
    for way in ways:
        columns, rows = as_table(metrics, way.prefix)
        name = way.prefix.strip("/")
        reporting.add_table(
            run_dir,
            f"{name or 'test'}-scores",
            columns,
            rows,
            title=f"Test scores{', ' if name else ''}{name}",
            caption=f"FID, KID, precision and recall by {metrics['features']}."
            if "fid" in " ".join(metrics)
            else "",
        )
