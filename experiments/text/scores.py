"""How well images made of sentences show what those say, beside real images."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.adversarial.judges import Judge, provenance
from experiments.running.options import UsageError
from experiments.running.tables import Columns, Table, as_rows, tabulated
from experiments.text import agreement
from experiments.text.captions import Sentences
from experiments.text.embedding import Embedder
from experiments.text.retrieval import r_precision
from gen_jax import data, evaluation
from gen_jax.data.captions.sentences import ATTRIBUTES

PARTS = {"test/": "test", "test/held-out/": "held-out combinations"}  # by their metrics' prefix
REAL = "real"
ROWS = {  # what is measured of some sentences, by its row in the metrics
    "": "as written",
    "full": "saying everything",
    REAL: "real images, as written",
}
TITLES = {
    **{name: name for name in ATTRIBUTES},
    "slant_side": "left or right",
    "all_said": "all that is said",
    "r_precision": "R-precision",
    "retrieved": "retrieved",
    "fid": "FID",
}
Make = Callable[[np.ndarray], np.ndarray]  # vectors [n, D] to uint8 images [n, H, W, C]


@dataclasses.dataclass(frozen=True, eq=False)
class Scorer:
    """Measures images by the sentences that they were made of.

    ``judge`` makes the features of FID, None where there are none. ``digits`` says that images are
    those of ``captioned-digits``, which are read, and their gray levels judged. ``embedder`` is
    None where vectors are a file's.
    """

    embedder: Embedder | None
    judge: Judge | None
    digits: bool
    seed: int

    def rows(self, make: Make, sentences: Sentences) -> dict[str, Columns]:
        """All that can be measured, by ``ROWS``.

        Raises ``UsageError`` for sentences that do not speak of digits, where those are read.
        """
        n = sentences.meaning.shape[1]
        if self.digits and n != len(ATTRIBUTES):
            raise UsageError(
                f"this run reads the digits in images, of which its sentences say "
                f"{len(ATTRIBUTES)} attributes; these sentences say {n}"
            )
        real = self._read(sentences.image)
        found = {"": self._score(make(sentences.vectors), sentences, real)}
        if self.digits and self.embedder is not None:
            full = sentences.saying_all(seed=self.seed)
            found["full"] = self._score(make(self.embedder.conditions(full.tokens)), full, real)
        found[REAL] = self._agreement(sentences.image, sentences, real)
        return {row: columns for row, columns in found.items() if columns}

    def score(self, make: Make, sentences: Sentences) -> Columns:
        """The first of ``rows``."""
        return self._score(make(sentences.vectors), sentences, self._read(sentences.image))

    def _score(self, made: np.ndarray, of: Sentences, real: "_Read") -> Columns:
        read = self._read(made)
        columns = self._agreement(made, of, read)
        if self.embedder is not None:
            embedded, others = self.embedder.of_images(made), self.embedder.of_images(of.image)
            # Images in the place of texts: the nearest real one is none that the text is wrong for.
            columns["retrieved"] = evaluation.text_precision(
                embedded, others, of.meaning, of.attributes, k=1, similarity="cosine"
            )
        if read.features is not None and real.features is not None:
            columns["fid"] = evaluation.fid(real.features, read.features)
        return columns

    def _agreement(self, images: np.ndarray, of: Sentences, read: "_Read") -> Columns:
        columns: Columns = {}
        if read.attributes is not None:
            columns |= agreement.agreement(of.meaning, read.attributes)
        if self.embedder is not None:
            texts, embedded = self.embedder.of_tokens(of.tokens), self.embedder.of_images(images)
            columns |= r_precision(embedded, texts, of, seed=self.seed)
        return columns

    def provenance(self, dataset: data.AnyDataset) -> dict[str, str]:
        """By what features, and beside what images, the scores were taken."""
        return provenance(self.judge, f"images of {dataset.name}, {dataset.split}")

    def _read(self, images: np.ndarray) -> "_Read":
        if self.digits:
            return _Read(*agreement.read(images))
        return _Read(None, None if self.judge is None else self.judge(images).features)


@dataclasses.dataclass(frozen=True, eq=False)
class _Read:
    """What is seen of images, as far as there is something that sees it."""

    attributes: np.ndarray | None
    features: np.ndarray | None


def as_table(metrics: Mapping[str, Any], prefixes: Mapping[str, str]) -> Table:
    """The titles and the rows of a summary's metrics; ``prefixes`` name the sets of sentences."""
    rows: dict[str, Columns] = {}
    for prefix, name in prefixes.items():
        found = as_rows(metrics, TITLES, prefix)
        rows |= {f"{name}, {title}": found[row] for row, title in ROWS.items() if row in found}
    return tabulated(rows, TITLES)
