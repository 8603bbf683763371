"""A game of text to image as a run: what is watched while it is played, and how it is judged."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.adversarial.games import WATCHED
from experiments.adversarial.pictures import add_health
from experiments.running.experiment import Splits
from experiments.running.tables import as_metrics
from experiments.text import pictures
from experiments.text.captions import Sentences, measured_parts
from experiments.text.embedding import Embedder
from experiments.text.scores import PARTS, Scorer, as_table
from experiments.text.sources import VectorsConfig, with_vectors
from gen_jax import data, reporting, training
from gen_jax.adversarial import StyleEncoder, text_to_image
from gen_jax.adversarial.gan import GANState
from gen_jax.typing import Array, Batch, PRNGKey

CHUNK = 200  # images made at a time: one compiled shape for all numbers of them
SHOWN = 8  # sentences to watch, and images of each


@dataclasses.dataclass(frozen=True, eq=False)
class TextGame:
    """What a run's ``Setup`` asks of a game between networks that read captions.

    ``style`` is the encoder that learns the generator's inverse for the report, in ``style_steps``
    updates (0: none does), and ``watched`` the number of sentences that are scored along the way.
    """

    config: VectorsConfig
    embedder: Embedder | None
    scorer: Scorer
    style: StyleEncoder
    style_steps: int
    watched: int
    critic: bool

    def key(self, purpose: int) -> PRNGKey:
        """The seed's key for one of the run's own draws."""
        return jax.random.fold_in(jax.random.key(self.config.seed), purpose)

    def sentences(self, part: data.Captioned, n: int) -> Sentences:
        """A sentence of each of ``n`` images, with its vector."""
        return Sentences.of(with_vectors(data.part(part, n), self.embedder), n)

    def validate(self, state: GANState, splits: Splits) -> Mapping[str, float]:
        """D's mean output on training, held-out and generated images under their captions, and what
        the latter show."""
        made = functools.partial(draw, self.key(1), state)
        watched = self.sentences(splits.validation, self.watched)
        said = watched.vectors
        batches = {
            "training": data.some(splits.train, WATCHED),
            "held_out": data.some(splits.validation, WATCHED),
            "generated": {"image": made(said), "vector": said[:, None]},
        }
        logits = {
            f"{who}/logit": float(np.mean(_judged()(state, batch)["logit"]))
            for who, batch in batches.items()
        }
        return logits | self.scorer.score(made, watched)

    def film(self, state: GANState, splits: Splits) -> np.ndarray:
        """Images of the same sentences each time."""
        few = self.sentences(splits.validation, SHOWN)
        return pictures.of_each(draw, self.key(2), state, few.vectors, SHOWN)

    def test(self, state: GANState, dataset: data.Captioned) -> Mapping[str, float | int | str]:
        """What images show of test sentences, and of held-out ones."""
        made = functools.partial(draw, self.key(3), state)
        metrics: dict[str, float | int | str] = {}
        for prefix, part in measured_parts(self.config, dataset).items():
            sentences = self.sentences(part, self.config.scored_samples)
            metrics |= as_metrics(self.scorer.rows(made, sentences), prefix)
        return metrics | self.scorer.provenance(dataset)

    def pictures(self, state: GANState, splits: Splits, run_dir: Path) -> None:
        """Adds the game's health, images of sentences, walks and styles."""
        add_health(run_dir, critic=self.critic)
        for prefix, part in measured_parts(self.config, splits.test).items():
            name = prefix.removeprefix("test/").strip("/") or "test"
            few = self.sentences(part, SHOWN)
            pictures.add_samples(run_dir, draw, state, self.key(4), name, few)
        few = self.sentences(splits.test, SHOWN)
        pictures.add_walks(run_dir, state, self.key(5), few)
        if self.style_steps:
            batches = data.Batches(
                splits.train, min(pictures.STYLE_BATCH, len(splits.train)), seed=self.config.seed
            )
            pictures.add_styles(
                run_dir,
                state,
                self.key(6),
                batches,
                few,
                encoder=self.style,
                steps=self.style_steps,
            )

    def illustrate(self, key: PRNGKey, state: GANState, texts: Sequence[str], n: int) -> np.ndarray:
        """``n`` images of each text, where there is an encoder to read it."""
        assert self.embedder is not None
        return pictures.of_each(draw, key, state, self.embedder.conditions_of(texts), n)


def draw(key: PRNGKey, state: GANState, vectors: np.ndarray) -> np.ndarray:
    """An image of each vector [n, D], from noise of its own: uint8, made in chunks."""
    n = len(vectors)
    filled = np.pad(vectors, ((0, max(0, CHUNK - n)), (0, 0)))
    batch = {"vector": filled, "number": np.arange(len(filled))}
    return _drawn().in_chunks((key, state), batch, CHUNK)[:n]


@functools.cache
def _judged() -> training.CompiledEval:
    return training.compile_eval(text_to_image.eval_step)


@functools.cache
def _drawn() -> training.CompiledEval:
    return training.compile_eval(_draw, training.local_mesh())


def _draw(given: tuple[PRNGKey, GANState], batch: Batch) -> Array:
    key, state = given
    return text_to_image.sample(state, key, batch["vector"], batch["number"])


def add_table(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Adds the test's numbers: a set of sentences a row."""
    columns, rows = as_table(metrics, PARTS)
    reporting.add_table(
        run_dir,
        "scores",
        columns,
        rows,
        title="Do images show what their sentences say?",
        caption=note(columns, metrics),
    )


def note(columns: Sequence[str], metrics: Mapping[str, Any]) -> str:
    """What the numbers of a table's columns are."""
    said = []
    if "digit" in columns:
        said.append("Shares of the images whose sentence says it.")
    if "retrieved" in columns:
        said.append(
            "Retrieved: the sentence is not wrong for the nearest real image, by the encoder that "
            "the captions are read by."
        )
    if "FID" in columns:
        said.append(f"FID by {metrics['features']}.")
    return " ".join(said)
