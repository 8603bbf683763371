import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gen_jax.evaluation import balanced_subsets, features, few_label_accuracy, fit_probe


@pytest.fixture(scope="module")
def digits():
    """Standardized features, and labels, of a training and a test part."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    train, test = features.standardize(jnp.asarray(x[:1200]), jnp.asarray(x[1200:]))
    return train, jnp.asarray(y[:1200]), test, jnp.asarray(y[1200:])


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_probe_agrees_with_scikit_learn(digits, l2):
    x, y, test, _ = digits
    x, y = x[:300], y[:300]
    reference = LogisticRegression(C=1.0 / (l2 * len(x)), tol=1e-8, max_iter=5000)
    reference.fit(np.asarray(x, np.float64), y)
    ours = fit_probe(x, y, l2, n_classes=10)
    theirs = jax.nn.log_softmax(
        jnp.asarray(test @ reference.coef_.T + reference.intercept_[None]), axis=1
    )
    log_p = jax.nn.log_softmax(test @ ours.weight + ours.bias[None], axis=1)
    np.testing.assert_allclose(jnp.exp(log_p), jnp.exp(theirs), atol=0.01)


def test_the_gradient_vanishes_at_the_probe(digits):
    x, y = digits[0][:100], digits[1][:100]

    def loss(probe):
        log_p = jax.nn.log_softmax(x @ probe.weight + probe.bias[None], axis=1)
        return -jnp.mean(log_p[jnp.arange(100), y]) + 0.005 * jnp.sum(probe.weight**2)

    probe = fit_probe(x, y, 0.01, n_classes=10)
    norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.grad(loss)(probe)]
    assert max(norms) < 10 * features.GRADIENT_NORM


def test_an_example_of_no_weight_does_not_count(digits):
    x, y = digits[0][:60], digits[1][:60]
    weights = (jnp.arange(60) < 40).astype(jnp.float32)
    wrong = jnp.where(weights > 0, y, (y + 1) % 10)
    weighted = fit_probe(x, wrong, 0.01, n_classes=10, weights=weights)
    alone = fit_probe(x[:40], y[:40], 0.01, n_classes=10)
    np.testing.assert_allclose(weighted.weight, alone.weight, atol=2e-3)


def test_standardized_features_are_centered_with_unit_mean_square():
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(50, 4)).astype(np.float32)
    train, test = features.standardize(jnp.asarray(x), jnp.asarray(x[:5]))
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose((train**2).sum(axis=1).mean(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(test, train[:5])
    constant, _ = features.standardize(jnp.ones((5, 3)), jnp.ones((2, 3)))
    np.testing.assert_array_equal(constant, np.zeros((5, 3)))


def test_subsets_are_balanced_in_turn_without_repeats_and_differ():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [5, 9, 30, 6]))
    subsets = np.asarray(
        balanced_subsets(jax.random.key(0), labels, n_labels=20, n_classes=4, draws=6)
    )
    assert subsets.shape == (6, 20)
    for subset in subsets:
        assert len(set(subset)) == 20
        np.testing.assert_array_equal(labels[subset], np.tile(np.arange(4), 5))
    assert len({tuple(sorted(subset)) for subset in subsets}) > 1
    again = balanced_subsets(jax.random.key(0), labels, n_labels=20, n_classes=4, draws=6)
    np.testing.assert_array_equal(again, subsets)


def test_every_example_is_drawn_equally_often():
    labels = np.tile(np.arange(2), 5)
    subsets = balanced_subsets(jax.random.key(0), labels, n_labels=4, n_classes=2, draws=2000)
    counts = np.bincount(np.asarray(subsets).ravel(), minlength=10)
    # 800 expected of 2,000 draws of 2 in 5: a standard deviation of 22.
    assert np.abs(counts - 800).max() < 5 * 22


@pytest.mark.parametrize(
    ("labels", "n_labels", "message"),
    [
        (np.arange(30) % 3, 10, "n_labels must be a multiple of the 3 classes, .* got 10"),
        (np.arange(30) % 3, 0, "n_labels must be a multiple of the 3 classes, .* got 0"),
        (
            np.array([0, 0, 0, 1, 1, 1, 2]),
            6,
            "need 2 examples of each of 3 classes, but class 2 has 1",
        ),
    ],
)
def test_impossible_subsets_are_refused(labels, n_labels, message):
    with pytest.raises(ValueError, match=message):
        balanced_subsets(jax.random.key(0), labels, n_labels=n_labels, n_classes=3, draws=1)


def test_more_labels_help_and_noise_says_nothing(digits):
    train, y, test, y_test = digits

    def mean_accuracy(x, x_test, n_labels):
        draws = few_label_accuracy(
            jax.random.key(0), x, y, x_test, y_test, n_labels=n_labels, n_classes=10, draws=4
        )
        assert draws.shape == (4,)
        return float(draws.mean())

    assert 0.3 < mean_accuracy(train, test, 10) < mean_accuracy(train, test, 100)
    noise = np.random.default_rng(0).normal(size=(1797, 16)).astype(np.float32)
    assert mean_accuracy(noise[:1200], noise[1200:], 100) < 0.2


def test_units_and_offset_of_the_features_do_not_matter(digits):
    train, y, test, y_test = digits

    def accuracies(scale, offset):
        return few_label_accuracy(
            jax.random.key(0),
            scale * train + offset,
            y,
            scale * test + offset,
            y_test,
            n_labels=50,
            n_classes=10,
            draws=2,
        )

    np.testing.assert_allclose(accuracies(8.0, 2.0), accuracies(1.0, 0.0), atol=0.01)


def test_l2_is_stronger_where_features_are_mostly_noise():
    rng = np.random.default_rng(0)
    y = jnp.asarray(np.tile(np.arange(2), 20))
    clean = np.stack([2.0 * np.asarray(y) - 1.0] * 8, axis=1)
    noisy = 0.2 * clean + rng.normal(size=clean.shape)

    def choose(x):
        x, _ = features.standardize(jnp.asarray(x, jnp.float32), jnp.zeros((1, 8)))
        return float(features.choose_l2(x, y, n_classes=2))

    assert choose(clean) == pytest.approx(min(features.L2_GRID))
    assert choose(noisy) == pytest.approx(max(features.L2_GRID))


def test_one_label_a_class_leaves_nothing_to_choose_by(digits):
    x, y = digits[0][:10], jnp.arange(10)
    assert float(features.choose_l2(x, y, n_classes=10)) == pytest.approx(features.L2_UNCHOSEN)


def test_accuracy_counts_the_largest_logit():
    probe = features.Probe(jnp.eye(3), jnp.asarray([0.0, 0.0, 0.5]))
    x = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.0, 0.0], [0.4, 0.0, 0.0]])
    assert float(features.accuracy(probe, x, jnp.asarray([0, 1, 2, 0]))) == 0.5


def test_features_and_labels_that_do_not_agree_are_refused(digits):
    train, y, test, y_test = digits
    with pytest.raises(ValueError, match=r"got train \[1200, 64\] and \[1199\], test \[597, 64\]"):
        few_label_accuracy(jax.random.key(0), train, y[1:], test, y_test, n_labels=10, n_classes=10)
    with pytest.raises(ValueError, match=r"test \[597, 63\] and \[597\]"):
        few_label_accuracy(
            jax.random.key(0), train, y, test[:, 1:], y_test, n_labels=10, n_classes=10
        )
