"""Feature networks by which generated images are scored."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_jax import data, evaluation, training
from gen_jax.evaluation import digits, emoji
from gen_jax.typing import Array, Batch

SUBSET = 1000  # images of KID's subsets, at most
CHUNK = 200  # images judged at a time: one compiled shape for all numbers of them


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a feature network says of images: ``features`` [n, d], ``log_probs`` [n, classes]."""

    features: np.ndarray
    log_probs: np.ndarray


class Judge:
    """A feature network, read and compiled when it is first needed: Inception, or one of those
    that are shipped.

    ``knows_digits`` says that its classes are the ten digits.
    """

    def __init__(self, load: Callable[[], Any], *, knows_digits: bool = False) -> None:
        self._load = load
        self.knows_digits = knows_digits
        self._read = training.compile_eval(_read, training.local_mesh())

    @classmethod
    def of(cls, shape: tuple[int, ...], inception: Path | None = None) -> "Judge | None":
        """A judge for images of ``shape`` [H, W, C]; None where no network at hand reads them.

        ``inception`` holds the weights of FID's network, which reads images of any size. Else the
        shipped classifier of digits reads images of its own size, and that of emoji RGB images.
        """
        if inception is not None:
            return cls(functools.partial(evaluation.inception.load, inception))
        if shape == digits.KIND.image_shape:
            return cls(digits.load, knows_digits=True)
        return cls(emoji.load) if shape[-1] == 3 else None

    @functools.cached_property
    def network(self) -> Any:
        """The network with its weights."""
        return self._load()

    def __call__(self, images: np.ndarray) -> Judged:
        """Reads images [n, H, W, C], in chunks."""
        n = len(images)
        padded = np.pad(images, ((0, max(0, CHUNK - n)), (0, 0), (0, 0), (0, 0)))
        read = self._read.in_chunks(self.network, {"image": padded}, CHUNK)
        return Judged(*(x[:n] for x in read))


def distances(real: Judged, made: Judged, *, seed: int) -> dict[str, float]:
    """FID, KID, precision and recall of generated images against real ones; ``seed`` draws KID's
    subsets. Neighbours need as many of each: the larger set is thinned out."""
    x, y = real.features, made.features
    n = min(len(x), len(y))
    x_rows, y_rows = (data.spread(len(rows), n) for rows in (x, y))
    precision, recall = evaluation.precision_recall(x[x_rows], y[y_rows])
    return {
        "fid": evaluation.fid(x, y),
        "kid": evaluation.kid(x, y, subset_size=min(SUBSET, n), seed=seed)[0],
        "precision_k3": precision,
        "recall_k3": recall,
    }


def provenance(judge: Judge | None, reference: str) -> dict[str, str]:
    """By what features scores were taken, and beside which images: ``reference``, in words."""
    if judge is None:
        return {"features": "none: no network at hand reads images of this kind"}
    network = judge.network
    return {
        "features": f"{network.name} {network.digest[:12]}",
        "resizer": network.resizer,
        "reference": reference,
    }


def _read(network: Any, batch: Batch) -> tuple[Array, Array]:
    features, logits = network(batch["image"])
    return features, jax.nn.log_softmax(logits)
