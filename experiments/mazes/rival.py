"""The rival that draws a plan in one go: a pix2pix, trained on the same mazes."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from experiments import pix2pix
from experiments.mazes import pictures
from experiments.mazes.scores import judged, timed
from experiments.running.experiment import Job
from experiments.running.nested import Nested, within
from experiments.running.tables import Columns
from gen_jax import data

LOSSES = {"l1": "none", "l1-gan": "non-saturating"}


def nested(job: Job) -> Nested:
    """The rival as a run of pix2pix within this one."""
    config = job.config
    settings = within(
        config,
        pix2pix.PRESETS[job.run.preset].presets["style"],
        loss=LOSSES[config.rival],
        steps=config.rival_steps,
        epochs=None,
        batch_size=config.batch_size,
        features=config.rival_features,
        depth=None,
        enlarge=1.0,
        evaluations=min(2, config.evaluations),
    )
    return Nested.of(job, f"pix2pix-{config.rival}", pix2pix.EXPERIMENT, settings)


def scored(rival: Nested, state: Any, test: data.AnyDataset, mazes: int) -> dict[str, Columns]:
    """The rival's row, of the mazes that the model's own plans are measured in."""
    spatial = data.some(test, mazes)["spatial"]
    paths, seconds = timed(lambda mazes: plans_of(rival, state, mazes), spatial, mazes)
    return {rival.name.replace("-", " "): judged(spatial, paths) | {"seconds": seconds}}


def plans_of(
    rival: Nested, state: Any, spatial: UInt8[np.ndarray, "n height width 3"]
) -> UInt8[np.ndarray, "n height width 1"]:
    """The plan of each maze; a pixel is on it at a level of 128 or more."""
    translation = rival.setup.translation
    assert translation is not None
    keys = jax.random.split(jax.random.key(rival.config.seed), len(spatial))
    return translation.translate(state, keys, spatial)


def add_plans(run_dir: Path, rival: Nested, state: Any, test: data.AnyDataset) -> None:
    """Adds the rival's plans of test mazes, those of the report's other plans."""
    spatial = data.some(test, rival.job.config.mazes)["spatial"][: pictures.COLUMNS * pictures.ROWS]
    pictures.add_plans(
        run_dir,
        rival.name,
        spatial,
        plans_of(rival, state, spatial),
        title="Plans drawn in one go",
        caption="Test mazes, not chosen; plans by pix2pix.",
    )
