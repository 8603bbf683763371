import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from gen_jax.evaluation import normalized_mutual_information, purity

BOTH = [purity, normalized_mutual_information]


def random_labels(seed, n=200, n_classes=5, n_clusters=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    clusters = np.where(rng.random(n) < 0.5, labels, rng.integers(n_clusters, size=n))
    return labels, clusters


@pytest.mark.parametrize("seed", range(5))
def test_agreement_with_scikit_learn(seed):
    labels, clusters = random_labels(seed)
    expected = normalized_mutual_info_score(labels, clusters)
    assert float(normalized_mutual_information(labels, clusters)) == pytest.approx(
        expected, abs=1e-5
    )
    counts = contingency_matrix(labels, clusters)
    expected = counts.max(axis=0).sum() / len(labels)
    assert float(purity(labels, clusters)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", BOTH)
def test_names_and_order_do_not_matter(measure):
    labels, clusters = random_labels(0)
    value = float(measure(labels, clusters))
    names = np.random.default_rng(1).permutation(1000)[:8]  # other numbers, with gaps
    order = np.random.default_rng(2).permutation(len(labels))
    renamed = float(measure(labels[order] * 7 + 3, names[clusters][order]))
    assert renamed == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("measure", BOTH)
def test_the_same_partition_scores_one(measure):
    labels, _ = random_labels(0)
    assert float(measure(labels, 9 - labels)) == pytest.approx(1.0, abs=1e-6)
    assert float(measure(np.zeros(5, int), np.ones(5, int))) == 1.0


def test_one_cluster_says_nothing():
    labels = np.repeat(np.arange(4), [4, 3, 2, 1])
    together = np.zeros(10, int)
    assert float(purity(labels, together)) == pytest.approx(0.4)
    assert float(normalized_mutual_information(labels, together)) == pytest.approx(0.0, abs=1e-6)


def test_independent_partitions_share_no_information():
    labels, clusters = np.divmod(np.arange(12), 4)
    assert float(normalized_mutual_information(labels, clusters)) == pytest.approx(0.0, abs=1e-6)


def test_information_is_symmetric():
    labels, clusters = random_labels(3)
    there = float(normalized_mutual_information(labels, clusters))
    assert float(normalized_mutual_information(clusters, labels)) == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize(
    ("labels", "clusters", "shapes"),
    [
        (np.zeros(3, int), np.zeros(4, int), r"got \[3\] and \[4\]"),
        (np.zeros(0, int), np.zeros(0, int), r"got \[0\] and \[0\]"),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), r"got \[2, 2\] and \[2, 2\]"),
    ],
)
def test_other_shapes_are_refused(measure, labels, clusters, shapes):
    with pytest.raises(ValueError, match=shapes):
        measure(labels, clusters)
