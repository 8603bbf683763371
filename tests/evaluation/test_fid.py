from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel

from gen_jax.evaluation.fid import (
    Moments,
    fid,
    fid_extrapolated,
    frechet_distance,
    kid,
)

# A torchvision that was built for another torch raises the latter.
NOT_THERE: Any = (ImportError, RuntimeError)


def features(seed, n=300, d=12, *, offset=0.0):
    """Correlated columns of different scales, as a network's features are."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) * np.geomspace(1.0, 0.05, d)[None]
    return rng.normal(size=(n, d)) @ mixing + rng.normal(size=d)[None] + offset


def gaussian(mean, covariance):
    """Moments that are exactly these: of two features, the covariance is the scatter."""
    return Moments(2, np.asarray(mean, np.float64), np.asarray(covariance, np.float64))


def rotation(seed, d):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def textbook_fid(x, y):
    root = linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    means = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    return means + x.var(axis=0, ddof=1).sum() + y.var(axis=0, ddof=1).sum() - 2 * root.trace().real


def textbook_kid(x, y):
    m = len(x)
    xx, yy, xy = (polynomial_kernel(a, b, degree=3) for a, b in [(x, x), (y, y), (x, y)])
    within = xx[~np.eye(m, dtype=bool)].sum() + yy[~np.eye(m, dtype=bool)].sum()
    return within / (m * (m - 1)) - 2.0 * xy.mean()


@pytest.mark.parametrize("seed", range(3))
def test_fid_agrees_with_scipys_matrix_root(seed):
    x, y = features(seed), features(seed + 10, n=200)
    assert fid(x, y) == pytest.approx(textbook_fid(x, y), rel=1e-9)
    assert fid(y, x) == pytest.approx(fid(x, y), rel=1e-11)


def test_fid_takes_the_arrays_that_networks_give():
    x, y = features(0).astype(np.float32), features(1).astype(np.float32)
    exact = fid(x.astype(np.float64), y.astype(np.float64))
    assert fid(jnp.asarray(x), jnp.asarray(y)) == exact
    half = jnp.asarray(x, jnp.bfloat16)
    assert fid(half, y) == fid(np.asarray(half.astype(jnp.float32)), y)


@pytest.mark.parametrize("n", [300, 5])
def test_a_set_is_at_distance_zero_from_itself(n):
    x = features(0, n=n)
    scale = np.trace(np.cov(x, rowvar=False))
    assert 0.0 <= fid(x, x) < 1e-12 * scale
    assert 0.0 <= fid(x, x[::-1]) < 1e-12 * scale


def test_moving_one_set_adds_the_squared_distance():
    x, y = features(0), features(1)
    y = y - y.mean(axis=0) + x.mean(axis=0)
    shift = np.random.default_rng(2).normal(size=x.shape[1])
    assert fid(x, y + shift) == pytest.approx(fid(x, y) + shift @ shift, rel=1e-10)
    assert fid(x, x + shift) == pytest.approx(shift @ shift, rel=1e-10)


def test_rotating_both_sets_changes_nothing():
    x, y = features(0), features(1)
    turn = rotation(2, x.shape[1])
    assert fid(x @ turn, y @ turn) == pytest.approx(fid(x, y), rel=1e-10)


def test_gaussians_whose_covariances_commute():
    turn = rotation(0, 4)
    a, b = np.array([4.0, 1.0, 0.25, 0.0]), np.array([1.0, 1.0, 9.0, 4.0])
    mean = np.array([3.0, 0.0, -4.0, 0.0])
    distance = frechet_distance(
        gaussian(np.zeros(4), turn * a @ turn.T), gaussian(mean, turn * b @ turn.T)
    )
    assert distance == pytest.approx(25.0 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-12)


def test_gaussians_on_lines_that_cross():
    """tr (S1 S2)^1/2 of S1 = u u^T, S2 = v v^T is |u.v|: no root of a rounded zero is in it."""
    u, v = np.random.default_rng(0).normal(size=(2, 50))
    distance = frechet_distance(
        gaussian(np.zeros(50), np.outer(u, u)), gaussian(np.zeros(50), np.outer(v, v))
    )
    assert distance == pytest.approx(u @ u + v @ v - 2.0 * abs(u @ v), rel=1e-12)


def test_singular_covariances_have_a_finite_distance():
    few, many = features(0, n=4), features(1)
    dead = many * (np.arange(many.shape[1]) % 3 > 0)[None]  # units that never fire
    for x, y in [(few, many), (few, features(2, n=3)), (dead, many), (dead, dead[:50])]:
        assert np.isfinite(fid(x, y))
        assert fid(x, y) == pytest.approx(textbook_fid_of_singular(x, y), rel=1e-6)
    constant = np.ones((5, 3))
    assert fid(constant, constant) == 0.0
    assert fid(constant, constant + [[3.0, 0.0, 4.0]]) == 25.0


def textbook_fid_of_singular(x, y):
    """The limit of regular covariances: a little of the identity added to both."""
    d = x.shape[1]
    covariances = [np.cov(z, rowvar=False) + 1e-14 * np.eye(d) for z in (x, y)]
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0.0))
    means = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    return means + sum(np.trace(c) for c in covariances) - 2.0 * roots.sum()


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_in_chunks_are_those_at_once(offset):
    x = features(0, n=5000, offset=offset)
    chunks = np.split(x, [1, 10, 1000, 4999])
    whole = Moments.from_features(x)
    streamed = Moments.from_chunks(iter(chunks))
    merged = Moments.from_chunks(chunks[:2]).merge(Moments.from_chunks(chunks[2:]))
    updated = Moments.from_features(chunks[0])
    for chunk in chunks[1:]:
        updated = updated.update(chunk)
    expected = np.cov(x - offset, rowvar=False)
    for moments in (whole, streamed, merged, updated):
        assert moments.count == len(x)
        np.testing.assert_allclose(moments.mean, (x - offset).mean(axis=0) + offset, rtol=1e-12)
        np.testing.assert_allclose(moments.covariance, expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(moments.covariance, whole.covariance, rtol=1e-10, atol=1e-10)


def test_updating_leaves_the_moments_before_as_they_were():
    x = features(0, n=20)
    before = Moments.from_features(x[:10])
    mean, scatter = before.mean.copy(), before.scatter.copy()
    before.update(x[10:])
    assert before.count == 10
    np.testing.assert_array_equal(before.mean, mean)
    np.testing.assert_array_equal(before.scatter, scatter)


def test_fid_is_extrapolated_to_infinitely_many_samples():
    """Gaussians with known moments: the truth is known, and finite samples are above it."""
    d = 16
    real = gaussian(np.zeros(d), np.eye(d))
    fake = np.random.default_rng(0).normal(size=(2000, d))
    sizes, values, limit = fid_extrapolated(real, fake, [100, 150, 250, 500, 1000, 2000])
    np.testing.assert_array_equal(sizes, [100, 150, 250, 500, 1000, 2000])
    assert (values > 0).all()
    assert values[-1] == pytest.approx(
        frechet_distance(real, Moments.from_features(fake)), rel=1e-9
    )
    assert limit < values.min()
    assert abs(limit) < 0.5 * values.min()  # the truth is 0


def test_extrapolation_depends_on_its_seed_and_takes_features():
    x, y = features(0, n=200, d=4), features(1, n=200, d=4)
    first = fid_extrapolated(x, y)
    assert first.sizes[0] == 20
    assert first.sizes[-1] == 200
    assert len(first.sizes) == 10
    again, other = fid_extrapolated(x, y, seed=0), fid_extrapolated(x, y, seed=1)
    np.testing.assert_array_equal(first.values, again.values)
    assert first.limit == again.limit != other.limit
    np.testing.assert_allclose(other.values[-1], fid(x, y), rtol=1e-12)


def test_extrapolation_is_the_lines_value_at_zero():
    x, y = features(0, n=200, d=4), features(1, n=200, d=4)
    sizes, values, limit = fid_extrapolated(x, y, [50, 100, 200])
    assert limit == pytest.approx(np.polyfit(1.0 / sizes, values, 1)[1], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_kid_agrees_with_scikit_learns_kernel(seed):
    x, y = features(seed, n=100), features(seed + 10, n=100)
    mean, std = kid(x, y, subset_size=100, subsets=2)  # all rows, in two orders
    assert mean == pytest.approx(textbook_kid(x, y), rel=1e-9)
    assert std < 1e-9 * abs(mean)


def test_kid_is_unbiased():
    """Of equal distributions it is 0 on the mean, even for tiny subsets, and often below."""
    rng = np.random.default_rng(0)
    values = [
        kid(*rng.normal(size=(2, 40, 4)), subset_size=10, subsets=4, seed=seed)[0]
        for seed in range(400)
    ]
    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values)) < 4.0 * error
    assert 0.2 < np.mean(np.array(values) < 0.0) < 0.8


def test_kid_does_not_depend_on_the_number_of_samples():
    x, y = features(0, n=1000), features(1, n=1000)
    small, small_std = kid(x, y, subset_size=50, subsets=200)
    large, large_std = kid(x, y, subset_size=500, subsets=4)
    assert small == pytest.approx(large, rel=0.05)
    assert large_std < small_std


def test_kid_depends_on_its_seed_alone():
    x, y = features(0), features(1)
    assert kid(x, y, subset_size=20, subsets=3) == kid(x, y, subset_size=20, subsets=3, seed=0)
    assert kid(x, y, subset_size=20, subsets=3) != kid(x, y, subset_size=20, subsets=3, seed=1)


def test_agreement_with_torch_fidelity():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid", exc_type=NOT_THERE)
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid", exc_type=NOT_THERE)
    torch = pytest.importorskip("torch")
    x, y = (torch.as_tensor(features(seed)) for seed in (0, 1))
    statistics = [metric_fid.fid_features_to_statistics(z) for z in (x, y)]
    expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert fid(x.numpy(), y.numpy()) == pytest.approx(
        expected["frechet_inception_distance"], rel=1e-9
    )
    expected = metric_kid.kid_features_to_metric(
        x, y, kid_subset_size=len(x), kid_subsets=1, verbose=False
    )
    value, _ = kid(x.numpy(), y.numpy(), subset_size=len(x), subsets=1)
    assert value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


X = features(0, n=6, d=3)
NAN = np.where(np.arange(6)[:, None] == 2, np.nan, X)


@pytest.mark.parametrize("score", [fid, kid, fid_extrapolated])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (X[:1], X, "real features must be at least 2, got 1"),
        (X, X[:0], "generated features must be at least 2, got 0"),
        (X, X[:, :2], r"must have the same width, got \[6, 3\] and \[6, 2\]"),
        (NAN, X, "real features must be finite, got 1 of 6 with NaN or infinity"),
        (X, np.full((6, 3), np.inf), "generated features must be finite, got 6 of 6"),
        (X[0], X, r"real features must be real numbers \[n, d\], got float64 \[3\]"),
        (X, X[None], r"generated features must be real numbers \[n, d\], got float64 \[1, 6, 3\]"),
        (X, X * 1j, r"generated features must be real numbers \[n, d\], got complex128 \[6, 3\]"),
    ],
)
def test_features_that_have_no_distance_are_refused(score, real, fake, message):
    with pytest.raises(ValueError, match=message):
        score(real, fake)


@pytest.mark.parametrize("subset_size", [1, 7])
def test_subsets_larger_than_the_set_are_refused(subset_size):
    message = rf"subset_size must lie in 2\.\.6, the smaller set, got {subset_size}"
    with pytest.raises(ValueError, match=message):
        kid(np.tile(X, (2, 1)), X, subset_size=subset_size)


def test_kid_of_no_subsets_is_refused():
    with pytest.raises(ValueError, match="subsets must be 1 or more, got 0"):
        kid(X, X, subset_size=3, subsets=0)


@pytest.mark.parametrize("sizes", [[], [6], [4, 4], [1, 6], [2, 7], [2.5, 4.0]])
def test_sizes_that_draw_no_line_are_refused(sizes):
    with pytest.raises(ValueError, match=r"two or more different numbers within 2\.\.6"):
        fid_extrapolated(X, X, sizes)


def test_moments_that_do_not_fit_are_refused():
    moments = Moments.from_features(X)
    with pytest.raises(ValueError, match="features of the same width, got 3 and 2"):
        moments.update(X[:, :2])
    with pytest.raises(ValueError, match="features of the same width, got 3 and 2"):
        frechet_distance(moments, Moments.from_features(X[:, :2]))
    with pytest.raises(ValueError, match="features of the same width, got 3 and 2"):
        fid_extrapolated(moments, X[:, :2])
    with pytest.raises(ValueError, match="a covariance needs at least 2 features, got 1"):
        frechet_distance(moments, Moments.from_features(X[:1]))
    with pytest.raises(ValueError, match="must be finite, got 1 of 6"):
        moments.update(NAN)
    with pytest.raises(ValueError, match="no features to take moments of"):
        Moments.from_chunks([])
