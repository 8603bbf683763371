from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gen_jax.evaluation import neighbours
from gen_jax.evaluation.neighbours import density_coverage, nearest, precision_recall

# A torchvision that was built for another torch raises the latter.
NOT_THERE: Any = (ImportError, RuntimeError)


def normal(seed, n, d=6):
    return np.random.default_rng(seed).normal(size=(n, d))


def search(x, k):
    return NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(x)


def radii(x, k):
    return search(x, k + 1).kneighbors(x)[0][:, k]


def in_balls(points, centers, radius):
    """Whether each point is in each center's ball [points, centers], without a matrix product."""
    apart = np.linalg.norm(points[:, None] - centers[None], axis=2)
    return apart <= radius[None]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 rows: a few hundred features take several."""
    monkeypatch.setattr(neighbours, "BLOCK", 1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(seed):
    real, fake = normal(seed, 250), 0.9 * normal(seed + 10, 190) + 0.3
    in_real, in_fake = in_balls(fake, real, radii(real, 3)), in_balls(real, fake, radii(fake, 3))
    scores = precision_recall(real, fake)
    assert 0.0 < scores.recall < 1.0
    assert 0.0 < scores.precision < 1.0
    assert scores == (in_real.any(axis=1).mean(), in_fake.any(axis=1).mean())
    in_real = in_balls(fake, real, radii(real, 5))
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(in_real.sum() / (5 * len(fake)), rel=1e-12)
    assert coverage == in_real.any(axis=0).mean()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 4, 150])
def test_neighbours_agree_with_scikit_learn(k):
    queries, references = normal(0, 130), normal(1, 150)
    distances, rows = nearest(queries, references, k)
    expected, expected_rows = search(references, k).kneighbors(queries)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    np.testing.assert_array_equal(rows, expected_rows)


def test_blocks_change_nothing(monkeypatch):
    real, fake = normal(0, 200), normal(1, 150)
    scores = precision_recall(real, fake), density_coverage(real, fake), nearest(fake, real, 3)
    monkeypatch.setattr(neighbours, "BLOCK", 1)
    again = precision_recall(real, fake), density_coverage(real, fake), nearest(fake, real, 3)
    assert scores[:2] == again[:2]
    np.testing.assert_array_equal(scores[2][0], again[2][0])
    np.testing.assert_array_equal(scores[2][1], again[2][1])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_duplicates_are_at_distance_zero(offset):
    references = (normal(0, 100, d=50) + offset).astype(np.float32)
    distances, rows = nearest(references[::-1], references, 2)
    np.testing.assert_array_equal(rows[:, 0], np.arange(100)[::-1])
    np.testing.assert_array_equal(distances[:, 0], 0.0)
    assert (distances[:, 1] > 1.0).all()


def test_near_duplicates_far_from_the_origin_keep_their_distances():
    """A product of float32 would see all of them as one point."""
    steps = np.arange(40)[:, None] * 2.0**-20  # exact in float64
    references = 1e3 + np.concatenate([steps, np.zeros((40, 3))], axis=1)
    distances, rows = nearest(references[:1], references, 40)
    np.testing.assert_array_equal(rows[0], np.arange(40))
    np.testing.assert_array_equal(distances[0], np.arange(40) * 2.0**-20)


def test_ties_come_in_the_order_of_rows():
    references = np.array([[2.0], [1.0], [-1.0], [1.0], [3.0]])
    distances, rows = nearest(np.zeros((1, 1)), references, 4)
    np.testing.assert_array_equal(rows, [[1, 2, 3, 0]])
    np.testing.assert_array_equal(distances, [[1.0, 1.0, 1.0, 2.0]])


def test_flattened_images_and_device_arrays_have_neighbours():
    images = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
    expected = nearest(images.astype(np.float64), images[::2].astype(np.float64), 2)
    for queries, references in [(images, images[::2]), (jnp.asarray(images), images[::2])]:
        distances, rows = nearest(queries, references, 2)
        np.testing.assert_array_equal(distances, expected[0])
        np.testing.assert_array_equal(rows, expected[1])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_set_has_perfect_precision_and_recall_for_itself(offset):
    x = normal(0, 200, d=30) + offset
    assert precision_recall(x, x) == (1.0, 1.0)
    density, coverage = density_coverage(x, x, k=5)
    assert coverage == 1.0
    assert density == 6.0 / 5.0  # each ball has its center and, on its edge, the k-th neighbour


def test_duplicates_within_a_set_are_in_their_own_empty_balls():
    x = np.repeat(normal(0, 20), 5, axis=0)  # balls of radius 0
    assert precision_recall(x, x) == (1.0, 1.0)
    assert density_coverage(x, x, k=4) == (5.0 / 4.0, 1.0)
    assert precision_recall(x, x + 1e-9) == (0.0, 0.0)


def test_dropped_modes_cost_recall_and_coverage_but_no_precision():
    centers = 20.0 * np.eye(4, 6)
    real = normal(0, 400) + centers[np.arange(400) % 4]
    all_modes = normal(1, 400) + centers[np.arange(400) % 4]
    one_mode = normal(2, 400) + centers[np.zeros(400, int)]
    full, dropped = precision_recall(real, all_modes), precision_recall(real, one_mode)
    assert full.recall > 0.8
    assert dropped.recall < 0.3
    assert dropped.precision > full.precision - 0.1
    full, dropped = density_coverage(real, all_modes), density_coverage(real, one_mode)
    assert full.coverage > 0.8
    assert dropped.coverage < 0.3
    assert dropped.density > full.density - 0.2


def test_noise_costs_precision_but_not_recall():
    real = normal(0, 400)
    noisy = 2.5 * normal(1, 400)
    assert precision_recall(real, noisy).precision < 0.5 * precision_recall(real, noisy).recall


def test_equal_distributions_have_the_expected_density_and_coverage():
    """Naeem et al. 2020, section 3.3: 1 and, for many samples, 1 - 2^-k."""
    scores = [density_coverage(normal(s, 500), normal(s + 50, 500), k=3) for s in range(5)]
    density, coverage = np.mean(scores, axis=0)
    assert density == pytest.approx(1.0, abs=0.05)
    assert coverage == pytest.approx(1.0 - 2.0**-3, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_shares(seed):
    for fake in (normal(seed, 60), normal(seed, 60) + 3.0, np.zeros((60, 6))):
        precision, recall = precision_recall(normal(9, 80), fake)
        density, coverage = density_coverage(normal(9, 80), fake)
        assert min(precision, recall, coverage) >= 0.0
        assert max(precision, recall, coverage) <= 1.0
        assert density >= 0.0


def test_agreement_with_torch_fidelity():
    metric = pytest.importorskip("torch_fidelity.metric_prc", exc_type=NOT_THERE)
    torch = pytest.importorskip("torch")
    real, fake = normal(0, 250), 0.9 * normal(1, 190) + 0.3
    expected = metric.prc_features_to_metric(
        torch.as_tensor(real), torch.as_tensor(fake), prc_neighborhood=3, verbose=False
    )
    scores = sorted(precision_recall(real, fake, k=3))
    # Sorted, as its versions do not agree on which of the two sets is the real one.
    assert scores == pytest.approx(sorted([expected["precision"], expected["recall"]]), rel=1e-6)


X = normal(0, 8)
NAN = np.where(np.arange(8)[:, None] == 2, np.nan, X)


@pytest.mark.parametrize("score", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (X[:1], X, 1, "real features must be at least 2, got 1"),
        (X, X[:, :2], 1, r"must have the same width, got \[8, 6\] and \[8, 2\]"),
        (X, NAN, 1, "generated features must be finite, got 1 of 8"),
        (X[:4], X, 4, "less than the number of real features, 4, got 4"),
        (X, X, 0, "k must be at least 1 and less than the number of real features, 8, got 0"),
    ],
)
def test_sets_without_neighbours_are_refused(score, real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        score(real, fake, k)


def test_recall_needs_neighbours_of_generated_samples():
    with pytest.raises(ValueError, match="less than the number of generated features, 3, got 3"):
        precision_recall(X, X[:3], k=3)
    assert density_coverage(X, X[:3], k=3).coverage > 0.0


@pytest.mark.parametrize(
    ("queries", "references", "k", "message"),
    [
        (X, X, 0, r"k must lie in 1\.\.8, the references, got 0"),
        (X, X[:3], 4, r"k must lie in 1\.\.3, the references, got 4"),
        (X, X[:, :2], 1, r"the same width, got \[8, 6\] and \[8, 2\]"),
        (X[0], X, 1, r"queries must be real numbers \[n, d\], got float64 \[6\]"),
        (X, NAN, 1, "references must be finite, got 1 of 8"),
        (X[:0], X, 1, "queries must be at least 1, got 0"),
    ],
)
def test_queries_without_an_answer_are_refused(queries, references, k, message):
    with pytest.raises(ValueError, match=message):
        nearest(queries, references, k)
