"""How well images were translated: beside the truth where there is one, and beside baselines."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments.adversarial.judges import Judge, distances, provenance
from experiments.running.tables import Columns, Table, as_rows, tabulated
from experiments.translation.tasks import Baseline
from experiments.translation.ways import Way
from gen_jax import data, evaluation, training
from gen_jax.evaluation import digits, fidelity
from gen_jax.typing import Batch, PRNGKey

CHUNK = 200  # images compared at a time
LARGEST = 2**27  # values of all images that retrieval compares
TITLES = {
    "l1": "L1 [levels]",
    "psnr": "PSNR [dB]",
    "ssim": "SSIM",
    "ab_error": "ab error",
    "retrieval_top1": "retrieved",
    "retrieval_top5": "among 5",
    "label_kept": "label kept",
    "colourfulness": "colourfulness",
    "fid": "FID",
    "kid": "KID",
    "precision_k3": "precision",
    "recall_k3": "recall",
    "seconds": "time [s]",
}


def truth_known(dataset: data.AnyDataset) -> bool:
    """Whether a source's row holds what it should become."""
    return dataset.example_spec.spatial is not None or getattr(dataset, "aligned", False)


def images_of(dataset: data.AnyDataset, name: str) -> np.ndarray:
    """All images of a name, each once: rows of two domains would repeat the smaller one's."""
    whole, key = _where(dataset, name)
    return whole.take(np.arange(len(whole)))[key]


def digits_of(dataset: data.AnyDataset, way: Way) -> np.ndarray | None:
    """Which digits the images that a way starts from show; None where they are not labelled so."""
    side, _ = _where(dataset, way.source)
    return side.labels if side.class_names == digits.CLASSES else None


def _where(dataset: data.AnyDataset, name: str) -> tuple[Any, str]:
    """The set that holds the images of a name, and their name there."""
    if isinstance(dataset, data.TwoDomains):
        return getattr(dataset, name), "image"
    return dataset, name


def fidelity_to(made: np.ndarray, target: np.ndarray) -> Columns:
    """How near translations are to their own targets, each measure a mean over images."""
    measured = _of_each(_compared).in_chunks(None, {"made": made, "target": target}, CHUNK)
    columns = {name: float(value.mean()) for name, value in measured.items() if name != "psnr"}
    columns["psnr"] = fidelity.mean_psnr(measured["psnr"])
    if len(made) > 1 and made.size <= LARGEST:
        found = evaluation.retrieval(made, target)
        columns |= {"retrieval_top1": found.top1, "retrieval_top5": found.top5}
    return columns


@functools.cache
def _of_each(measure: Callable[[None, Batch], Any]) -> training.CompiledEval:
    """A measure of each image, compiled."""
    return training.compile_eval(measure, training.local_mesh())


def _compared(_: None, batch: Batch) -> dict[str, jax.Array]:
    made, target = batch["made"], batch["target"]
    values = {"l1": fidelity.l1(made, target), "psnr": fidelity.psnr(made, target)}
    if min(made.shape[1:3]) >= fidelity.WINDOW:
        values["ssim"] = fidelity.ssim(made, target)
    if made.shape[-1] == 3:
        values["ab_error"] = fidelity.ab_error(made, target)
    return values


class Scorer:
    """Measures a way's translations of a data set's images, and what else could be given.

    ``baselines`` are rows of their own beside the translations. ``seed`` draws KID's subsets.
    """

    def __init__(
        self, judge: Judge | None, baselines: Mapping[str, Baseline], *, seed: int
    ) -> None:
        self._judge = judge
        self._baselines = baselines
        self._seed = seed

    def quick(self, way: Way, state: Any, key: PRNGKey, dataset: data.AnyDataset) -> Columns:
        """What is measured along the way: fidelity where the truth is known, labels kept."""
        made = way(state, key, images_of(dataset, way.source))
        known = truth_known(dataset)
        columns = fidelity_to(made, images_of(dataset, way.target)) if known else {}
        return columns | self._label_kept(made, digits_of(dataset, way))

    def rows(
        self, way: Way, state: Any, key: PRNGKey, dataset: data.AnyDataset
    ) -> dict[str, Columns]:
        """All measures by row: of the translations (an empty name), and of each baseline."""
        source, target = (images_of(dataset, name) for name in (way.source, way.target))
        labels = digits_of(dataset, way)
        images = {"": way(state, key, source)}
        images |= {name: given(source, target) for name, given in self._baselines.items()}
        rows = {
            name: self._columns(made, target, labels, truth=truth_known(dataset))
            for name, made in images.items()
        }
        if target.shape[-1] == 3:
            rows["truth"] = {"colourfulness": colourfulness(target)}
        return rows

    def provenance(self, dataset: data.AnyDataset) -> dict[str, str]:
        """By what features, and beside what images, the scores were taken."""
        sizes = getattr(dataset, "side_lengths", (len(dataset),))
        number = " and ".join(map(str, dict.fromkeys(sizes)))
        return provenance(self._judge, f"{number} images of {dataset.name}, {dataset.split}")

    def _columns(
        self, made: np.ndarray, target: np.ndarray, labels: np.ndarray | None, *, truth: bool
    ) -> Columns:
        columns = fidelity_to(made, target) if truth else {}
        columns |= self._label_kept(made, labels)
        if made.shape[-1] == 3:
            columns["colourfulness"] = colourfulness(made)
        if self._judge is not None and min(len(made), len(target)) > 3:
            columns |= distances(self._judge(target), self._judge(made), seed=self._seed)
        return {name: columns[name] for name in TITLES if name in columns}

    def _label_kept(self, made: np.ndarray, labels: np.ndarray | None) -> Columns:
        judge = self._judge
        if judge is None or labels is None or not judge.knows_digits:
            return {}
        kept = evaluation.label_kept(lambda images: judge(images).log_probs, made, labels)
        return {"label_kept": kept}


def colourfulness(images: np.ndarray) -> float:
    """The mean over RGB images."""
    return float(np.mean(_of_each(_colourfulness).in_chunks(None, {"image": images}, CHUNK)))


def _colourfulness(_: None, batch: Batch) -> jax.Array:
    return fidelity.colourfulness(batch["image"])


def as_table(metrics: Mapping[str, Any], prefix: str = "test/") -> Table:
    """The titles and the rows of a summary's metrics of a way, those that begin with ``prefix``."""
    rows = as_rows(metrics, TITLES, prefix)
    return tabulated({name or "translation": row for name, row in rows.items()}, TITLES)
