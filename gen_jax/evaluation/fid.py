"""Distances between two sets of features: Fréchet (FID, Heusel et al. 2017) and kernel (KID,
Bińkowski et al. 2018).

    FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)                (1706.08500, eq. 6)
    KID = E k(x, x') + E k(y, y') - 2 E k(x, y),   k(x, y) = (x.y / d + 1)^3  (1801.01401)

with means m, covariances S, real x and generated y. Both are 0 for equal distributions, and low
is good. All is float64 on the host: accelerators mostly lack it, and both are small differences
of large numbers. FID of few samples is too high, so that values compare only at equal numbers.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gen_jax.typing import Array

Features = Float[Array | np.ndarray, "n d"]

ROWS = 4096  # converted to float64 at a time


def feature_matrix(features: Features, what: str = "features", *, least: int = 2) -> np.ndarray:
    """Returns numbers ``[n, d]`` as an array on the host, of their own dtype.

    Raises ``ValueError``, naming ``what``, for other shapes, fewer than ``least`` rows, and rows
    that are not finite.
    """
    x = np.asarray(features)
    if x.dtype == jnp.bfloat16:  # not a number type to NumPy
        x = x.astype(np.float32)
    if x.ndim != 2 or x.dtype.kind not in "fiu" or x.shape[1] < 1:
        raise ValueError(f"{what} must be real numbers [n, d], got {x.dtype} {list(x.shape)}")
    if len(x) < least:
        raise ValueError(f"{what} must be at least {least}, got {len(x)}")
    finite = np.isfinite(x)
    if not finite.all():
        bad = int((~finite).any(axis=1).sum())
        raise ValueError(f"{what} must be finite, got {bad} of {len(x)} with NaN or infinity")
    return x


def feature_matrices(real: Features, fake: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both sets by ``feature_matrix``; raises ``ValueError`` where they differ in width, too."""
    x, y = feature_matrix(real, "real features"), feature_matrix(fake, "generated features")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            "real and generated features must have the same width, got "
            f"{list(x.shape)} and {list(y.shape)}"
        )
    return x, y


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of features that come in chunks, in float64.

    ``update`` and ``merge`` return new moments. ``scatter`` is the sum of (x - mean)(x - mean)^T:
    sums about the running mean lose nothing to a common offset of the features, as sums of
    squares would (Chan, Golub & LeVeque 1983).
    """

    count: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]

    @classmethod
    def from_features(cls, features: Features) -> "Moments":
        """Of features [n, d], n >= 1. Raises ``ValueError`` as ``feature_matrix``."""
        x = feature_matrix(features, least=1)
        mean = x.mean(axis=0, dtype=np.float64)
        scatter, rest = np.zeros((x.shape[1], x.shape[1])), np.zeros(x.shape[1])
        for start in range(0, len(x), ROWS):
            centered = x[start : start + ROWS].astype(np.float64) - mean[None]
            scatter += centered.T @ centered
            rest += centered.sum(axis=0)
        rest /= len(x)  # what rounding took from the mean
        return cls(len(x), mean + rest, scatter - len(x) * np.outer(rest, rest))

    @classmethod
    def from_chunks(cls, chunks: Iterable[Features]) -> "Moments":
        """Of all rows of several arrays [n_i, d]; one chunk is in memory at a time."""
        total = None
        for chunk in chunks:
            total = cls.from_features(chunk) if total is None else total.update(chunk)
        if total is None:
            raise ValueError("there are no features to take moments of")
        return total

    def update(self, features: Features) -> "Moments":
        """With further features [n, d]. Raises ``ValueError`` as ``merge``."""
        return self.merge(Moments.from_features(features))

    def merge(self, other: "Moments") -> "Moments":
        """Of both sets together. Raises ``ValueError`` where they differ in width."""
        _require_same_width(self, other)
        count = self.count + other.count
        shift = other.mean - self.mean
        between = (self.count * (other.count / count)) * np.outer(shift, shift)
        mean = self.mean + shift * (other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The unbiased one, over n - 1. Raises ``ValueError`` for fewer than 2 features."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 features, got {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Fréchet distance of the Gaussians with these moments; never negative.

    Covariances may be singular: with S = A A^T, the trace of (S1^1/2 S2 S1^1/2)^1/2 is the sum of
    the singular values of A1^T A2, which holds for any rank. (It is also the sum of the roots of
    that matrix' eigenvalues, but a root turns an eigenvalue's rounding of 1e-16 into 1e-8.)
    Raises ``ValueError`` for other widths, or moments of fewer than 2 features.
    """
    return _distance(a, _factor(a.covariance), b)


def fid(real_features: Features, fake_features: Features) -> float:
    """The Fréchet distance of two sets of features, [n, d] and [m, d].

    Raises ``ValueError`` for fewer than 2 features in a set, values that are not finite, and sets
    of different width.
    """
    real, fake = feature_matrices(real_features, fake_features)
    return frechet_distance(Moments.from_features(real), Moments.from_features(fake))


class Extrapolation(NamedTuple):
    """FID at several numbers of samples, and the ``limit`` for infinitely many.

    ``limit`` is an estimate: it may fall below 0 where the distributions are equal.
    """

    sizes: Int[np.ndarray, " sizes"]
    values: Float[np.ndarray, " sizes"]
    limit: float


def fid_extrapolated(
    real: Features | Moments,
    fake: Features,
    sizes: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> Extrapolation:
    """FID as the number of generated samples goes to infinity (Chong & Forsyth 2020, 1911.07023).

    FID is linear in 1/N up to terms of higher order, so that a line through FIDs of random
    subsets of ``fake`` crosses 1/N = 0 at the limit. ``sizes`` are the N, by default ten evenly
    spaced ones from n/10 to all n; a line fits well where they are larger than the features' width.
    ``real`` is taken as the reference that it is: how it would change with more real images is no
    part of this. ``seed`` draws the subsets.

    Raises ``ValueError`` as ``fid``, and unless there are two different sizes within 2..n.
    """
    fake = feature_matrix(fake, "generated features")
    if not isinstance(real, Moments):
        real = Moments.from_features(feature_matrices(real, fake)[0])
    counts = _sizes(sizes, len(fake))
    rng = np.random.default_rng(seed)
    factor = _factor(real.covariance)
    values = np.array(
        [
            _distance(real, factor, Moments.from_features(fake[_subset(rng, len(fake), count)]))
            for count in counts
        ]
    )
    inverse = 1.0 / counts
    offset = inverse - inverse.mean()
    slope = (offset @ values) / (offset @ offset)
    return Extrapolation(counts, values, float(values.mean() - slope * inverse.mean()))


def kid(
    real: Features,
    fake: Features,
    *,
    subset_size: int = 1000,
    subsets: int = 100,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation, over pairs of random subsets, of the unbiased squared MMD.

    Unlike FID's, the mean's expectation does not depend on the number of samples; it may be
    negative. The deviation is that of one subset, not the mean's own error. ``seed`` draws them.

    Raises ``ValueError`` as ``fid``, for a subset of fewer than 2 or of more than a set has, and
    for no subsets.
    """
    x, y = feature_matrices(real, fake)
    if not 2 <= subset_size <= min(len(x), len(y)):
        raise ValueError(
            f"subset_size must lie in 2..{min(len(x), len(y))}, the smaller set, got {subset_size}"
        )
    if subsets < 1:
        raise ValueError(f"subsets must be 1 or more, got {subsets}")
    if subset_size == len(x) == len(y):
        subsets = 1  # all others would be the same
    rng = np.random.default_rng(seed)
    values = [
        _squared_mmd(
            x[_subset(rng, len(x), subset_size)].astype(np.float64),
            y[_subset(rng, len(y), subset_size)].astype(np.float64),
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def _distance(a: Moments, factor: np.ndarray, b: Moments) -> float:
    """``frechet_distance``, with the factor of a's covariance at hand."""
    _require_same_width(a, b)
    shared = np.linalg.svd(factor.T @ _factor(b.covariance), compute_uv=False).sum()
    means = np.sum((a.mean - b.mean) ** 2)
    return max(0.0, float(means + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * shared))


def _factor(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d rank"]:
    """A of full column rank with A A^T the covariance, without the directions of no variance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])[None]


def _squared_mmd(x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "m d"]) -> float:
    m = len(x)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return float(within / (m * (m - 1)) - 2.0 * xy.mean())


def _kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    base = x @ y.T / x.shape[1] + 1.0
    return base * base * base  # many times faster than a power


def _subset(rng: np.random.Generator, n: int, size: int) -> Int[np.ndarray, " size"]:
    return rng.choice(n, size, replace=False)


def _sizes(sizes: Sequence[int] | None, n: int) -> Int[np.ndarray, " sizes"]:
    if sizes is None:
        sizes = np.unique(np.linspace(max(2, n / 10), n, 10).astype(int)).tolist()
    counts = np.asarray(sizes)
    if (
        counts.ndim != 1
        or counts.dtype.kind not in "iu"
        or len(np.unique(counts)) < 2
        or counts.min() < 2
        or counts.max() > n
    ):
        raise ValueError(
            f"sizes must be two or more different numbers within 2..{n}, the generated samples, "
            f"got {counts.tolist()}"
        )
    return counts


def _require_same_width(a: Moments, b: Moments) -> None:
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"moments must be of features of the same width, got {len(a.mean)} and {len(b.mean)}"
        )
