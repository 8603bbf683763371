"""The inception score (Salimans et al. 2016, 1606.03498, section 4).

    IS = exp( E_x KL( p(y|x) || p(y) ) )

Between 1 and the number of classes: high if a classifier is sure of each sample, and sees all
classes equally often. It never uses real images, so that memorized ones score as well as any,
and one picture a class is as good as many (Barratt & Sharma 2018, 1801.01973).
"""

import itertools

import numpy as np
from jaxtyping import Float

from gen_jax.evaluation.fid import Features

SUM_TOLERANCE = 1e-3  # from 1, of a row's probabilities: a half-precision softmax is within


def inception_score(probabilities: Features, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation of the score over ``splits`` equal parts of the samples.

    ``probabilities`` [n, classes] are a classifier's p(y|x) or their logarithms; which of both is
    seen from their signs. The parts are taken in order, so samples that are sorted by class must
    be shuffled first. The score grows with the size of a part: compare only at equal sizes.

    Raises ``ValueError`` unless there are 2 samples or more in a part and each row is a
    distribution, or its logarithm (minus infinity is a probability of 0).
    """
    log_p = _log_probabilities(np.asarray(probabilities))
    n = len(log_p)
    if splits < 1 or n < 2 * splits:
        raise ValueError(
            f"the inception score needs at least 2 samples in each split, got {n} samples in "
            f"{splits} splits"
        )
    edges = [i * n // splits for i in range(splits + 1)]
    scores = [_score(log_p[a:b]) for a, b in itertools.pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: Float[np.ndarray, "n classes"]) -> float:
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    log_mean = np.log(mean, where=mean > 0, out=np.zeros_like(mean))
    seen = (p > 0) & (mean > 0)[None]  # 0 log 0 = 0
    ratio = np.subtract(log_p, log_mean[None], where=seen, out=np.zeros_like(p))
    return float(np.exp((p * ratio).sum(axis=1).mean()))


def _log_probabilities(given: np.ndarray) -> Float[np.ndarray, "n classes"]:
    if given.ndim != 2 or given.shape[1] < 1:
        raise ValueError(f"probabilities must be floats [n, classes], got {list(given.shape)}")
    given = given.astype(np.float64)
    if np.isnan(given).any() or np.isposinf(given).any():
        raise ValueError("probabilities must be finite, got NaN or infinity")
    are_logs = (given < 0).any() or not given.any()  # of one class, every logarithm is 0
    p = np.exp(np.minimum(given, 1.0)) if are_logs else given
    sums = p.sum(axis=1)
    worst = int(np.abs(sums - 1.0).argmax()) if len(sums) else 0
    if len(sums) and abs(sums[worst] - 1.0) > SUM_TOLERANCE:
        raise ValueError(
            "each row must be probabilities or their logarithms (apply log_softmax to logits), got "
            f"row {worst} from {given[worst].min():.4g} to {given[worst].max():.4g}"
        )
    with np.errstate(divide="ignore"):
        return given if are_logs else np.log(p)
