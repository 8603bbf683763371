import numpy as np
import pytest

from gen_jax.evaluation.retrieval import label_kept, retrieval


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_true_images_find_themselves():
    true = noise(50, 6, 6, 3)
    assert retrieval(true, true) == (1.0, 1.0)
    assert retrieval(true.reshape(50, -1), true.reshape(50, -1)) == (1.0, 1.0)


def test_it_is_the_rank_of_the_own_among_all():
    x, y = (np.random.default_rng(seed).normal(size=(3000, 5)) for seed in (0, 1))
    y += x  # found by some
    distances = np.linalg.norm(x[:, None] - y[None], axis=2)
    nearer = (distances < np.diag(distances)[:, None]).sum(axis=1)
    found = retrieval(x.astype(np.float64), y)
    assert found.top1 == (nearer < 1).mean()
    assert found.top5 == (nearer < 5).mean()
    assert 0.0 < found.top1 < found.top5 < 1.0


def test_images_that_are_all_alike_find_no_more_than_chance():
    true = noise(40, 4, 4, 1)
    collapsed = np.full_like(true, 128)
    assert retrieval(collapsed, true).top1 == pytest.approx(1 / 40)  # that of one true image
    flat = retrieval(true, collapsed)  # where all true ones are equally near
    assert flat == pytest.approx((1 / 40, 5 / 40))


def test_of_two_that_are_equally_near_own_is_half_a_hit():
    true = noise(20, 3, 3, 1).repeat(2, axis=0)
    assert retrieval(true, true) == (0.5, 1.0)


def test_near_twins_do_not_count_as_equal():
    """Large and almost equal rows, whose products differ by rounding alone."""
    true = 1e6 + np.arange(10.0)[:, None] * 1e-3 + np.zeros((1, 50))
    assert retrieval(true, true) == (1.0, 1.0)


def test_a_reversed_order_is_not_found():
    true = noise(20, 4, 4, 1)
    assert retrieval(true[::-1], true).top1 == 0.0


@pytest.mark.parametrize(
    ("translated", "true", "message"),
    [
        (noise(3, 4), noise(4, 4), r"same shape, got \[3, 4\] and \[4, 4\]"),
        (noise(1, 4), noise(1, 4), "must be at least 2, got 1"),
        (np.full((3, 4), np.nan), noise(3, 4), "translated images must be finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(translated, true, message):
    with pytest.raises(ValueError, match=message):
        retrieval(translated, true)


def test_a_label_is_kept_where_the_classifier_reads_it():
    image = noise(6, 1, 1, 1)
    label = np.array([0, 1, 2, 0, 1, 2])
    logits = np.eye(3)[[0, 1, 2, 0, 0, 0]] - 5.0
    assert label_kept(lambda x: logits[: len(x)], image, label) == pytest.approx(4 / 6)
    with pytest.raises(ValueError, match=r"got \[6, 3\] and \[5\]"):
        label_kept(lambda x: logits, image, label[:5])
    with pytest.raises(ValueError, match="n >= 1"):
        label_kept(lambda x: logits[:0], image[:0], label[:0])
