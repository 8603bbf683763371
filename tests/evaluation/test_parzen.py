import math

import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import KernelDensity

from gen_jax.evaluation import neighbours
from gen_jax.evaluation.parzen import SIGMAS, parzen_log_likelihood


def points(seed, n, d=5, scale=0.3):
    return scale * np.random.default_rng(seed).normal(size=(n, d)) + 0.5


def density(samples, x, sigma):
    return KernelDensity(bandwidth=sigma, kernel="gaussian").fit(samples).score_samples(x)


@pytest.mark.parametrize("block", [neighbours.BLOCK, 1])
def test_agreement_with_scikit_learn(block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)  # blocks of 64 rows, for 1
    samples, validation, test = points(0, 200), points(1, 70), points(2, 150)
    mean, error, sigma = parzen_log_likelihood(samples, validation, test)
    scores = [density(samples, validation, sigma).mean() for sigma in SIGMAS]
    assert sigma == SIGMAS[int(np.argmax(scores))]
    assert sigma not in (SIGMAS[0], SIGMAS[-1])
    expected = density(samples, test, sigma)
    assert mean == pytest.approx(expected.mean(), rel=1e-9)
    assert error == pytest.approx(stats.sem(expected), rel=1e-9)


def test_far_points_and_narrow_windows_are_finite():
    samples, far = points(0, 100), points(1, 20) + 100.0
    mean, _, _ = parzen_log_likelihood(samples, far, far, sigmas=[0.01])
    assert mean == pytest.approx(density(samples, far, 0.01).mean(), rel=1e-9)


def test_of_one_gaussian_it_is_the_gaussians():
    samples, test = np.zeros((3, 4)), points(0, 50, d=4)
    mean, _, _ = parzen_log_likelihood(samples, test, test, sigmas=[0.7])
    assert mean == pytest.approx(stats.norm.logpdf(test, scale=0.7).sum(axis=1).mean(), rel=1e-12)


def test_scaling_the_data_shifts_it_by_the_logarithm_in_each_dimension():
    sets = points(0, 80), points(1, 40), points(2, 40)
    small = parzen_log_likelihood(*sets, sigmas=[0.1, 0.2, 0.4])
    large = parzen_log_likelihood(*(255.0 * x for x in sets), sigmas=[25.5, 51.0, 102.0])
    assert large.sigma == pytest.approx(255.0 * small.sigma)
    assert large.mean == pytest.approx(small.mean - 5 * math.log(255.0), rel=1e-9)


def test_test_points_choose_nothing():
    samples, validation, test = points(0, 100), points(1, 50), points(2, 50)
    narrow = parzen_log_likelihood(samples, samples, test)  # each point at its window's center
    assert narrow.sigma == SIGMAS[0]
    assert narrow.mean < parzen_log_likelihood(samples, validation, test).mean


def test_the_grid_is_that_of_the_papers_code():
    np.testing.assert_allclose(SIGMAS, np.logspace(-1, 0, 10))


X = points(0, 6, d=3)
NAN = np.where(np.arange(6)[:, None] == 2, np.nan, X)


@pytest.mark.parametrize(
    ("samples", "validation", "test", "message"),
    [
        (X[:1], X, X, "samples must be at least 2, got 1"),
        (X, X[:1], X, "validation points must be at least 2, got 1"),
        (X, X, NAN, "test points must be finite, got 1 of 6"),
        (X[0], X, X, r"samples must be real numbers \[n, d\], got float64 \[3\]"),
        (X, X[:, :2], X, "must have the same width, got 3, 2 and 3"),
    ],
)
def test_points_that_have_no_density_are_refused(samples, validation, test, message):
    with pytest.raises(ValueError, match=message):
        parzen_log_likelihood(samples, validation, test)


@pytest.mark.parametrize("sigmas", [[], [0.0], [0.1, -1.0], [math.nan], [math.inf]])
def test_windows_without_width_are_refused(sigmas):
    with pytest.raises(ValueError, match="sigmas must be one or more positive numbers, got"):
        parzen_log_likelihood(X, X, X, sigmas=sigmas)
