"""GAN, GAN-CLS, GAN-INT and GAN-INT-CLS on the same captions: what each makes of sentences.

python -m experiments.text_losses
python -m experiments.text_losses --dataset emoji --steps 5000

The objectives are those that Reed et al. 2016 (1605.05396) compare in section 5, but not in the
paper's game: all else is as in the preset of ``text_to_image`` that has this one's name. By default
the discriminator projects images on texts and the loss is the hinge loss, for with texts joined, as
in the paper, little is learned in as few steps. Each is trained as a run of
``text_to_image`` in a folder of this run's, on the same batches from the same initial networks; the
text encoder, in a folder of its own, is the same for all.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import text_to_image
from experiments.running.experiment import Findings, Job, Study
from experiments.running.nested import Nested, within
from experiments.running.options import free, require_at_least
from experiments.running.run import run
from experiments.running.terminal import main, say
from experiments.text import pictures, sources
from experiments.text.captions import Sentences, numbered, open_captions
from experiments.text.game import draw, note
from experiments.text.scores import PARTS, REAL, as_table
from experiments.text.sources import FOLDER, VectorsConfig
from gen_jax import images, reporting

NAMES = {"gan": "GAN", "cls": "GAN-CLS", "int": "GAN-INT", "int-cls": "GAN-INT-CLS"}
ROWS, EACH = 6, 3  # sentences of the picture, and images of each by each model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VectorsConfig):
    """Compare the objectives of text to image."""

    steps: int = 1000
    """Updates of every model."""
    batch_size: int = 64
    """Images per update."""
    features: int = 32
    """Maps of the generator at the finest resolution."""
    evaluations: int = free(2)
    """Number of times a model evaluates on validation data, samples, and saves."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least(1, self, "steps", "features")


PRESETS = {
    "smoke": Config(
        steps=2, batch_size=8, features=2, letters=128, evaluations=1, scored_samples=20
    ),
    "default": Config(letters=128, steps=3000, batch_size=32),
    "paper": Config(dataset="emoji:64", steps=30_000, features=128),
}


def work(job: Job) -> Findings:
    """Trains the text encoder, then every model, and shows what each makes of the same sentences,
    and its scores."""
    job = sources.prepare(job)
    config, test = job.config, job.data.test
    models = {objective: nested(job, objective) for objective in NAMES}
    for model in models.values():  # what a network refuses comes before any training
        jax.eval_shape(functools.partial(model.setup.init, job.data.train))
    few = Sentences.of(test, ROWS)
    key = jax.random.key(config.seed)
    metrics: dict[str, Any] = {}
    columns, params, speeds = [few.image[:, None]], {}, []
    for objective, model in models.items():
        if not config.quiet:
            say(f"{NAMES[objective]}:")
        result = model.train()
        found = model.setup.test(result.state, test)
        metrics |= {of_model(name, objective): value for name, value in found.items()}
        metrics[f"test/{objective}/seconds"] = result.seconds
        made = pictures.of_each(draw, key, result.state, few.vectors, EACH)
        columns.append(made.reshape(len(few), EACH, *made.shape[1:]))
        params[objective] = result.state.params
        speeds.append(result.examples_per_s)
    add_sheet(job.run.dir, np.concatenate(columns, axis=1), few)
    add_scores(job.run.dir, metrics)
    return Findings(
        params=params,
        steps=config.steps * len(models),
        examples_per_s=min(speeds),
        metrics=metrics,
    )


def of_model(name: str, objective: str) -> str:
    """What a model's metric is called here. What is measured of real images, and what scores were
    taken by, is the same for every model: it keeps its name."""
    first, *rest = name.split("/")
    return name if first != "test" or REAL in rest else "/".join(("test", objective, *rest))


def nested(job: Job, objective: str) -> Nested:
    """A model as a run of text_to_image within this one."""
    config = job.config
    settings = within(
        config,
        text_to_image.PRESETS[job.run.preset],
        objective=objective,
        text_encoder=None if config.embeddings else job.run.dir / FOLDER,
        text_embeddings=config.text_embeddings,
        letters=config.letters,
        scored_samples=config.scored_samples,
        steps=config.steps,
        epochs=None,
        batch_size=config.batch_size,
        features=config.features,
        evaluations=config.evaluations,
    )
    return Nested.of(job, objective, text_to_image.EXPERIMENT, settings)


def add_sheet(run_dir: Path, rows: np.ndarray, sentences: Sentences) -> None:
    """Adds the picture: a sentence a row, the real image and then what each model makes of it."""
    listed = ", ".join(NAMES.values())
    reporting.add_picture(
        run_dir,
        "models",
        images.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1]),
        title="The same sentences by every model",
        caption=f"Not chosen. From the left: the image that a sentence describes, and {EACH} "
        f"images of it by each of {listed}, from the same noise. "
        f"{numbered(sentences.texts)}.",
    )


def add_scores(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Adds the table of test scores."""
    prefixes: dict[str, str] = {}
    for prefix, words in PARTS.items():
        of_models = {of_model(prefix, objective): name for objective, name in NAMES.items()}
        prefixes |= {own: f"{name}, {words}" for own, name in of_models.items()}
        prefixes[prefix] = words  # real images
    columns, rows = as_table(metrics, prefixes)
    reporting.add_table(
        run_dir, "scores", columns, rows, title="Test scores", caption=note(columns, metrics)
    )


EXPERIMENT = Study("text_losses", __doc__, PRESETS, open=open_captions, function=work)

if __name__ == "__main__":
    main(lambda: run(EXPERIMENT))
