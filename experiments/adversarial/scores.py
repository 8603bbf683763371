"""Scores of a generator's images against real ones, all with the provenance they hold for."""

import dataclasses
import functools

import jax
import numpy as np

from gen_jax import adversarial, data, evaluation, training
from gen_jax.adversarial.gan import GANState
from gen_jax.evaluation import digits
from gen_jax.evaluation.classifiers import Classifier
from gen_jax.evaluation.provenance import Provenance, Score
from gen_jax.typing import Array, Batch, PRNGKey

CHUNK = 200  # images generated, or judged, at a time: one compiled shape for all numbers of them


def draw(key: PRNGKey, state: GANState, n: int) -> np.ndarray:
    """Generates ``n`` images, uint8, in chunks; a conditional generator's classes come in turn."""
    numbers = {"number": np.arange(max(n, CHUNK))}
    return _drawn().in_chunks((key, state), numbers, CHUNK)[:n]


@functools.cache
def _drawn() -> training.CompiledEval:
    return training.compile_eval(_draw, training.local_mesh())


def _draw(given: tuple[PRNGKey, GANState], batch: Batch) -> Array:
    key, state = given
    return adversarial.sample(state, key, len(batch["number"]), numbers=batch["number"])


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the feature network says of images: ``features`` [n, d], ``log_probs`` [n, classes]."""

    features: np.ndarray
    log_probs: np.ndarray


class Judge:
    """The shipped digit classifier as feature network, for images of its size."""

    def __init__(self) -> None:
        self.classifier = digits.load()
        self._read = training.compile_eval(_read, training.local_mesh())

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Judge | None":
        """A judge for images of ``shape`` [H, W, C]; None where no shipped network reads them."""
        try:
            digits.KIND.check((1, *shape))
        except ValueError:
            return None
        return cls()

    def __call__(self, images: np.ndarray) -> Judged:
        """Reads images [n, H, W, C], in chunks."""
        n = len(images)
        padded = np.pad(images, ((0, max(0, CHUNK - n)), (0, 0), (0, 0), (0, 0)))
        read = self._read.in_chunks(self.classifier, {"image": padded}, CHUNK)
        return Judged(*(x[:n] for x in read))


def _read(classifier: Classifier, batch: Batch) -> tuple[Array, Array]:
    features, logits = classifier(batch["image"])  # pyright: ignore[reportArgumentType]
    return features, jax.nn.log_softmax(logits)


def scores(judge: Judge, fake: np.ndarray, dataset: data.Dataset, *, seed: int) -> list[Score]:
    """Every score of generated images against a whole set of real ones."""
    real = dataset.take(np.arange(len(dataset)))["image"]
    x, y = judge(real), judge(fake)
    network = judge.classifier
    provenance = Provenance(
        network=network.name,
        digest=network.digest,
        dataset=dataset.name,
        split=dataset.split,
        n_reference=len(real),
        n_samples=len(fake),
        image_size=real.shape[1:3],
        resizer=network.resizer,
    )
    size = min(1000, len(real), len(fake))
    n = min(len(real), len(fake))  # neighbours need as many of each
    alike = dataclasses.replace(provenance, n_reference=n, n_samples=n)
    rows = data.spread(len(real), n)
    precision, recall = evaluation.precision_recall(x.features[rows], y.features[:n])
    density, coverage = evaluation.density_coverage(x.features[rows], y.features[:n])
    kid, _ = evaluation.kid(x.features, y.features, subset_size=size, seed=seed)
    shuffled = np.random.default_rng(seed).permutation(len(fake))
    inception, _ = evaluation.inception_score(y.log_probs[shuffled])
    found = classes(y)
    values = {
        "fid": evaluation.fid(x.features, y.features),
        "fid_limit": evaluation.fid_extrapolated(x.features, y.features, seed=seed).limit,
        "kid": kid,
        "inception_score": inception,
        "classes_covered": found.covered,
        "class_balance": found.balance,
    }
    by_neighbours = {
        "precision_k3": precision,
        "recall_k3": recall,
        "density_k5": density,
        "coverage_k5": coverage,
    }
    return [Score(name, value, provenance) for name, value in values.items()] + [
        Score(name, value, alike) for name, value in by_neighbours.items()
    ]


def classes(judged: Judged) -> evaluation.ClassCoverage:
    """How often each class is among images that were judged."""
    return evaluation.class_coverage(judged.log_probs.argmax(1), judged.log_probs.shape[1])


def as_metrics(measured: list[Score]) -> dict[str, float | int | str]:
    """Scores as a summary's metrics, and what they hold for in words."""
    metrics: dict[str, float | int | str] = {
        f"test/{score.name}": int(score.value) if score.name == "classes_covered" else score.value
        for score in measured
    }
    where = measured[0].provenance
    metrics["features"] = f"{where.network} {where.digest[:12]}"
    metrics["resizer"] = where.resizer
    metrics["reference"] = f"{where.n_reference} images of {where.dataset}, {where.split}"
    metrics["generated"] = where.n_samples
    metrics["neighbours_of"] = f"{measured[-1].provenance.n_samples} images of each kind"
    return metrics
