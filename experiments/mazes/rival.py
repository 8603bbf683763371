"""The rival that draws a plan in one go: a pix2pix, trained on the same mazes.

By L2 its levels are how likely a pixel is to lie on the path. By L1 they tend to the likelier of
black and white: few pixels lie on a path, and none is drawn.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from experiments import pix2pix
from experiments.mazes import pictures, walks
from experiments.mazes.scores import judged, timed
from experiments.running.experiment import Job
from experiments.running.nested import Nested, within
from experiments.running.tables import Columns
from gen_jax import data

SETTINGS: dict[str, dict[str, Any]] = {
    "l2": {"loss": "none", "distance": "l2", "dropout": 0.0},
    "l1": {"loss": "none"},
    "l1-gan": {"loss": "non-saturating"},
}


def nested(job: Job) -> Nested:
    """The rival as a run of pix2pix within this one."""
    config = job.config
    settings = within(
        config,
        pix2pix.PRESETS[job.run.preset].presets["style"],
        steps=config.rival_steps,
        epochs=None,
        batch_size=config.batch_size,
        features=config.rival_features,
        depth=None,
        enlarge=1.0,
        evaluations=min(2, config.evaluations),
        **SETTINGS[config.rival],
    )
    return Nested.of(job, f"pix2pix-{config.rival}", pix2pix.EXPERIMENT, settings)


def scored(rival: Nested, state: Any, test: data.AnyDataset, mazes: int) -> dict[str, Columns]:
    """The rows of the rival, and of walks by its levels, in the mazes that the model's own plans
    are measured in."""
    spatial = data.some(test, mazes)["spatial"]
    made, seconds = timed(lambda mazes: levels_of(rival, state, mazes), spatial, mazes)
    name, walked = rival.name.replace("-", " "), walks.guided(spatial, made[..., 0] / 255.0)
    return {
        name: judged(spatial, made) | {"seconds": seconds},
        f"walk by {name}": judged(spatial, walked),
    }


def levels_of(
    rival: Nested, state: Any, spatial: UInt8[np.ndarray, "n height width 3"]
) -> UInt8[np.ndarray, "n height width 1"]:
    """What the rival makes of each maze; a pixel is on its plan at a level of 128 or more."""
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
        levels_of(rival, state, spatial),
        title="Plans drawn in one go",
        caption="Test mazes, not chosen; plans by pix2pix: pixels at a level of 128 or more.",
    )
