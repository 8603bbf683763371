"""The Parzen-window log-likelihood of the first GAN paper (Goodfellow et al. 2014, section 5).

    log p(x) = log 1/n sum_i N(x; s_i, sigma^2 I)

with n samples s_i of the generator, and sigma the best of a grid on validation data. The paper
reports 225 ± 2 nats on MNIST (pixels in [0, 1], 10,000 samples).

It misleads, and is here to be compared with papers of that time. In many dimensions no affordable
number of samples brings the window near the true density, it ranks models differently than their
likelihood does, and k-means centroids of the training data score far above the data itself (Theis
et al. 2016, 1511.01844). FID, and precision with recall, say more.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gen_jax.evaluation.fid import Features, feature_matrix
from gen_jax.evaluation.neighbours import blocks, squared_distances

SIGMAS = tuple(10.0 ** (i / 9 - 1.0) for i in range(10))  # 0.1 to 1, as the paper's code has it


class Parzen(NamedTuple):
    """Mean log-likelihood of the test points in nats, its standard error, and the chosen sigma.

    A sigma at an end of the grid says that the grid is too narrow.
    """

    mean: float
    standard_error: float
    sigma: float


def parzen_log_likelihood(
    samples: Features,
    validation: Features,
    test: Features,
    *,
    sigmas: Sequence[float] = SIGMAS,
) -> Parzen:
    """Scores ``test`` [n, d] under Gaussians around ``samples``, with sigma from ``validation``.

    All are in the units of the data: the paper's are flattened images with pixels in [0, 1], and
    other scales shift the result by d times the logarithm of their ratio. Memory besides the
    arguments is a few blocks of 32 MiB.

    Raises ``ValueError`` for fewer than 2 rows, values that are not finite, different widths, and
    a grid that is empty or has a sigma that is not positive.
    """
    samples = feature_matrix(samples, "samples")
    validation = feature_matrix(validation, "validation points")
    test = feature_matrix(test, "test points")
    if not samples.shape[1] == validation.shape[1] == test.shape[1]:
        raise ValueError(
            "samples, validation and test points must have the same width, got "
            f"{samples.shape[1]}, {validation.shape[1]} and {test.shape[1]}"
        )
    grid = np.asarray(sigmas, np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.isfinite(grid) & (grid > 0)).all():
        raise ValueError(f"sigmas must be one or more positive numbers, got {list(sigmas)}")
    best = int(log_density(samples, validation, grid).mean(axis=1).argmax())
    values = log_density(samples, test, grid[best : best + 1])[0]
    error = values.std(ddof=1) / math.sqrt(len(values))
    return Parzen(float(values.mean()), float(error), float(grid[best]))


def log_density(
    samples: np.ndarray, points: np.ndarray, sigmas: Float[np.ndarray, " sigmas"]
) -> Float[np.ndarray, "sigmas points"]:
    """Log-density of each point under windows of each width, in nats."""
    center = samples.mean(axis=0, dtype=np.float64)
    total = np.full((len(sigmas), len(points)), -np.inf)
    for here, point_block in blocks(points, center):
        for _, sample_block in blocks(samples, center):
            squares, _ = squared_distances(point_block, sample_block)
            np.maximum(squares, 0.0, out=squares)
            nearest = squares.min(axis=1)
            squares -= nearest[:, None]
            for i, sigma in enumerate(sigmas):
                scale = -0.5 / sigma**2
                summed = np.log(np.exp(scale * squares).sum(axis=1)) + scale * nearest
                total[i, here] = np.logaddexp(total[i, here], summed)
    d = samples.shape[1]
    return total - math.log(len(samples)) - d * np.log(math.sqrt(2.0 * math.pi) * sigmas)[:, None]
