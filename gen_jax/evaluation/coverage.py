"""Which parts of a distribution a generator makes, where the parts are known: classes, or modes."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_jax.evaluation.fid import Features, feature_matrix
from gen_jax.typing import Array

LEAST = 0.1  # of its fair share: less of a class or mode than that counts as none


class ClassCoverage(NamedTuple):
    """How often each class is generated, by a classifier's word.

    ``balance`` is the entropy of ``shares`` over that of equal shares, in [0, 1]; ``kl`` is
    KL(shares || equal shares) in nats, 0 to log(n_classes). Both see samples, not their quality.
    """

    shares: Float[np.ndarray, " n_classes"]
    covered: int
    balance: float
    kl: float


def class_coverage(
    labels: Int[Array | np.ndarray, " n"], n_classes: int, *, least: float = LEAST
) -> ClassCoverage:
    """Counts the classes of samples whose ``labels`` (0 .. n_classes - 1) a classifier gave.

    A class is covered if its share is at least ``least`` times 1 / n_classes. Raises ``ValueError``
    for fewer than 2 labels, other labels, n_classes < 2, and ``least`` outside of (0, 1].
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) < 2:
        raise ValueError(
            f"labels must be integers [n] with n >= 2, got {labels.dtype} {list(labels.shape)}"
        )
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2, got {n_classes}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must lie in 0..{n_classes - 1}, got {labels.min()}..{labels.max()}"
        )
    _require_least(least)
    counts = np.bincount(labels, minlength=n_classes)
    shares = counts / len(labels)
    some = shares[shares > 0]
    kl = max(0.0, float(np.sum(some * np.log(some * n_classes))))
    covered = int((counts * n_classes >= least * len(labels)).sum())
    return ClassCoverage(shares, covered, 1.0 - kl / math.log(n_classes), kl)


class RingModes(NamedTuple):
    """``found`` modes, ``high_quality`` share of samples, and each mode's share of all samples.

    Samples of the true mixture have a ``high_quality`` of 1 - exp(-4.5) = 0.989 in two dimensions.
    """

    found: int
    high_quality: float
    shares: Float[np.ndarray, " modes"]


def ring_modes(
    samples: Features,
    centers: Float[Array | np.ndarray, "modes d"],
    std: float,
    *,
    least: float = LEAST,
) -> RingModes:
    """How many modes of a mixture of equal, round Gaussians a generator found.

    A sample is of high quality if it is within three ``std`` of the nearest center, and belongs
    to that mode (Srivastava et al. 2017, 1705.07761). There, one such sample makes a
    mode found; here it takes ``least`` times a fair share, 1 / modes, of all samples, so that
    strays on their way between modes find none.

    Raises ``ValueError`` for fewer than 2 samples, centers of another width, values that are not
    finite, ``std`` <= 0, and ``least`` outside of (0, 1].
    """
    x, centers = feature_matrix(samples, "samples"), feature_matrix(centers, "centers", least=1)
    if x.shape[1] != centers.shape[1]:
        raise ValueError(
            "samples and centers must have the same width, got "
            f"{list(x.shape)} and {list(centers.shape)}"
        )
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive, got {std}")
    _require_least(least)
    apart = x.astype(np.float64)[:, None] - centers.astype(np.float64)[None]
    squares = np.sum(apart**2, axis=2)  # [n, modes]
    mode = squares.argmin(axis=1)
    good = squares.min(axis=1) <= (3.0 * std) ** 2
    counts = np.bincount(mode[good], minlength=len(centers))
    found = int((counts * len(centers) >= least * len(x)).sum())
    return RingModes(found, float(good.mean()), counts / len(x))


def _require_least(least: float) -> None:
    if not 0 < least <= 1:
        raise ValueError(f"least is a part of a fair share, in (0, 1], got {least}")
