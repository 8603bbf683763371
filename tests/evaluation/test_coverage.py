import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.evaluation.coverage import class_coverage, ring_modes

ANGLES = 2.0 * np.pi * np.arange(8) / 8
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
STD = 0.02


def ring_samples(seed, modes, std=STD):
    return RING[modes] + std * np.random.default_rng(seed).normal(size=(len(modes), 2))


def test_equal_shares_are_in_balance():
    shares, covered, balance, kl = class_coverage(jnp.arange(30) % 10, 10)
    np.testing.assert_allclose(shares, 0.1)
    assert (covered, balance, kl) == (10, pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))


def test_one_class_is_all_out_of_balance():
    coverage = class_coverage(np.full(20, 3), 10)
    assert coverage.covered == 1
    assert coverage.balance == pytest.approx(0.0, abs=1e-12)
    assert coverage.kl == pytest.approx(math.log(10))


@pytest.mark.parametrize("seed", range(3))
def test_balance_agrees_with_scipys_entropies(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, size=500, p=rng.dirichlet(np.full(7, 0.5)))
    shares, _, balance, kl = class_coverage(labels, 7)
    np.testing.assert_allclose(shares, [np.mean(labels == i) for i in range(7)])
    assert balance == pytest.approx(stats.entropy(shares, base=7), rel=1e-10)
    assert kl == pytest.approx(stats.entropy(shares, np.full(7, 1 / 7)), rel=1e-10)


def test_a_class_is_covered_from_a_part_of_its_fair_share():
    """Of 1,000 samples and ten classes, a tenth of the fair share is ten."""
    labels = np.repeat([0, 1, 2], [981, 10, 9])
    assert class_coverage(labels, 10).covered == 2
    assert class_coverage(labels, 10, least=0.09).covered == 3
    assert class_coverage(labels, 10, least=1.0).covered == 1


def test_the_true_ring_has_all_modes_and_few_strays():
    n = 40_000
    found, high_quality, shares = ring_modes(ring_samples(0, np.arange(n) % 8), RING, STD)
    inside = 1.0 - math.exp(-4.5)
    assert found == 8
    assert high_quality == pytest.approx(inside, abs=4.0 * math.sqrt(inside * (1 - inside) / n))
    np.testing.assert_allclose(shares, high_quality / 8, rtol=0.01)
    assert shares.sum() == pytest.approx(high_quality)


def test_dropped_modes_are_not_found():
    found, high_quality, shares = ring_modes(
        jnp.asarray(ring_samples(0, np.arange(600) % 3)), RING, STD
    )
    assert found == 3
    assert high_quality > 0.95
    np.testing.assert_array_equal(shares[3:], 0.0)


def test_strays_find_no_mode():
    blurred = ring_samples(0, np.arange(800) % 8, std=20 * STD)
    assert ring_modes(blurred, RING, STD).high_quality < 0.1
    between = np.zeros((800, 2))
    assert ring_modes(between, RING, STD)[:2] == (0, 0.0)
    few = np.concatenate([between[:796], RING[:4]])
    assert ring_modes(few, RING, STD)[:2] == (0, 4 / 800)
    assert ring_modes(few, RING, STD, least=0.01).found == 4


def test_three_deviations_are_within():
    samples = np.array([[0.0, 3.0], [0.0, -3.001]])
    assert ring_modes(samples, np.zeros((1, 2)), 1.0)[:2] == (1, 0.5)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([1], {}, r"labels must be integers \[n\] with n >= 2, got int64 \[1\]"),
        ([[1, 2]], {}, r"with n >= 2, got int64 \[1, 2\]"),
        ([1.0, 2.0], {}, r"with n >= 2, got float64 \[2\]"),
        ([1, 4], {}, r"labels must lie in 0\.\.3, got 1\.\.4"),
        ([-1, 2], {}, r"labels must lie in 0\.\.3, got -1\.\.2"),
        ([0, 0], {"n_classes": 1}, "n_classes must be at least 2, got 1"),
        ([0, 1], {"least": 0.0}, r"in \(0, 1\], got 0.0"),
    ],
)
def test_labels_of_no_class_are_refused(labels, options, message):
    with pytest.raises(ValueError, match=message):
        class_coverage(np.array(labels), **{"n_classes": 4, **options})


@pytest.mark.parametrize(
    ("samples", "std", "least", "message"),
    [
        (RING[:1], STD, 0.1, "samples must be at least 2, got 1"),
        (RING * np.nan, STD, 0.1, "samples must be finite, got 8 of 8"),
        (np.zeros((9, 3)), STD, 0.1, r"the same width, got \[9, 3\] and \[8, 2\]"),
        (RING, 0.0, 0.1, "std must be positive, got 0.0"),
        (RING, STD, 1.5, r"in \(0, 1\], got 1.5"),
    ],
)
def test_samples_of_no_ring_are_refused(samples, std, least, message):
    with pytest.raises(ValueError, match=message):
        ring_modes(samples, RING, std, least=least)
