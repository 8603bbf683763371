from typing import Any

import numpy as np
import pytest
from scipy import special

from gen_jax.evaluation.inception_score import inception_score

# A torchvision that was built for another torch raises the latter.
NOT_THERE: Any = (ImportError, RuntimeError)


def logits(seed, n=230, classes=10):
    return 3.0 * np.random.default_rng(seed).normal(size=(n, classes))


def textbook(p, splits):
    scores = []
    for part in np.array_split(p, splits):
        kl = special.rel_entr(part, part.mean(axis=0)[None]).sum(axis=1)
        scores.append(np.exp(kl.mean()))
    return np.mean(scores), np.std(scores)


@pytest.mark.parametrize("splits", [1, 10])
def test_agreement_with_the_definition(splits):
    p = special.softmax(logits(0), axis=1)
    np.testing.assert_allclose(inception_score(p, splits), textbook(p, splits), rtol=1e-10)
    assert inception_score(p[:200]) == pytest.approx(textbook(p[:200], 10), rel=1e-10)


def test_logarithms_and_probabilities_are_told_apart():
    log_p = special.log_softmax(logits(0), axis=1)
    np.testing.assert_allclose(
        inception_score(log_p), inception_score(np.exp(log_p)), rtol=1e-10, atol=1e-12
    )
    half = inception_score(log_p.astype(np.float16))
    np.testing.assert_allclose(half, inception_score(log_p), rtol=1e-3, atol=1e-3)


def test_sure_and_balanced_samples_score_the_number_of_classes():
    one_hot = np.eye(7)[np.arange(70) % 7]
    assert inception_score(one_hot, splits=10) == pytest.approx((7.0, 0.0))
    with np.errstate(divide="ignore"):
        logarithms = np.log(one_hot)
    assert inception_score(logarithms) == pytest.approx((7.0, 0.0))


def test_what_says_nothing_scores_one():
    assert inception_score(np.full((40, 4), 0.25)) == pytest.approx((1.0, 0.0))  # never sure
    assert inception_score(np.eye(4)[np.zeros(40, int)]) == pytest.approx((1.0, 0.0))  # one class
    assert inception_score(np.ones((40, 1))) == inception_score(np.zeros((40, 1))) == (1.0, 0.0)


def test_vanishing_probabilities_count_as_nothing():
    sure = np.tile([[0.0, -5000.0], [-745.0, 0.0]], (20, 1))
    assert inception_score(sure, splits=2) == pytest.approx((2.0, 0.0))


def test_splits_are_taken_in_order():
    p = special.softmax(logits(0), axis=1)
    ordered = p[np.argsort(p.argmax(axis=1), kind="stable")]
    assert inception_score(ordered)[0] < inception_score(p)[0]
    assert inception_score(ordered, 1) == pytest.approx(inception_score(p, 1))


def test_agreement_with_torch_fidelity():
    metric = pytest.importorskip("torch_fidelity.metric_isc", exc_type=NOT_THERE)
    torch = pytest.importorskip("torch")
    x = logits(0, n=233)
    expected = metric.isc_features_to_metric(torch.as_tensor(x), splits=10, shuffle=False)
    np.testing.assert_allclose(
        inception_score(special.softmax(x, axis=1)), list(expected.values()), rtol=1e-9
    )


P = special.softmax(logits(0, n=20, classes=3), axis=1)


@pytest.mark.parametrize(
    ("given", "splits", "message"),
    [
        (P[:1], 1, "at least 2 samples in each split, got 1 samples in 1 splits"),
        (P[:0], 1, "at least 2 samples in each split, got 0 samples in 1 splits"),
        (P[:19], 10, "at least 2 samples in each split, got 19 samples in 10 splits"),
        (P, 0, "got 20 samples in 0 splits"),
        (P[0], 1, r"must be floats \[n, classes\], got \[3\]"),
        (np.full((20, 3), np.nan), 1, "must be finite, got NaN or infinity"),
        (logits(0, n=20), 1, r"apply log_softmax to logits\), got row \d+ from -"),
        (2.0 * P, 1, "each row must be probabilities or their logarithms"),
        (P - 1.0, 1, "each row must be probabilities or their logarithms"),
    ],
)
def test_what_is_no_distribution_is_refused(given, splits, message):
    with pytest.raises(ValueError, match=message):
        inception_score(given, splits)
