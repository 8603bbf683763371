import numpy as np
import pytest

from gen_jax.evaluation.retrieval import label_kept, r_precision, retrieval, text_precision


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


# Images and texts


def described(n=60, d=5, seed=0):
    """Embeddings of images and of texts near them, what the texts say, and what is true."""
    random = np.random.default_rng(seed)
    attributes = random.integers(0, 3, (n, 2))
    meaning = np.where(random.random((n, 2)) < 0.7, attributes, -1)
    image = random.normal(size=(n, d))
    return image, 1.5 * random.normal(size=(n, d)) + image, meaning, attributes


def is_wrong(meaning, attributes):
    return any(m >= 0 and m != a for m, a in zip(meaning, attributes, strict=True))


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("similarity", ["cosine", "product"])
def test_r_precision_is_the_share_of_own_texts_before_all_that_are_wrong(similarity):
    """With as many others as there are wrong texts, nothing is left to chance."""
    image, text, meaning, attributes = described()
    attributes[:] = np.arange(60)[:, None] // 20  # each image has 40 texts of other groups
    meaning[:] = attributes
    near = cosine if similarity == "cosine" else np.dot
    hits = [
        all(
            near(image[i], text[i]) > near(image[i], text[j])
            for j in range(60)
            if is_wrong(meaning[j], attributes[i])
        )
        for i in range(60)
    ]
    found = r_precision(image, text, meaning, attributes, others=40, similarity=similarity)
    assert found == pytest.approx(np.mean(hits))
    assert 0.0 < found < 1.0


def test_a_text_that_is_not_wrong_never_competes():
    """Of texts that are as good as the own one none counts, whatever is drawn."""
    image, _, meaning, attributes = described()
    for i in (0, 1, 2):
        right = [not is_wrong(m, attributes[i]) for m in meaning]
        assert sum(right) > 1
        text = np.where(np.array(right)[:, None], image[[i]], -image[[i]])
        same = np.repeat(image[[i]], 60, 0), text, meaning, np.repeat(attributes[[i]], 60, 0)
        # Rows whose own text is wrong for the image find it among six that are as far.
        assert r_precision(*same, others=5) == pytest.approx(np.mean(np.where(right, 1.0, 1 / 6)))


def test_others_are_drawn_by_the_seed():
    found = [r_precision(*described(), others=9, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_embeddings_that_are_all_alike_find_no_more_than_chance():
    image, text, meaning, attributes = described()
    collapsed = np.repeat(text[:1], len(text), 0)
    found = r_precision(image, collapsed, meaning, attributes, others=9)
    assert found == pytest.approx(1 / 10)


def test_text_precision_is_the_share_of_the_nearest_images_that_a_text_describes():
    image, text, meaning, attributes = described()
    image, attributes = image[:40], attributes[:40]
    shares = []
    for said, vector in zip(meaning, text, strict=True):
        nearest = sorted(range(40), key=lambda j, vector=vector: -image[j] @ vector)[:7]
        shares.append(np.mean([not is_wrong(said, attributes[j]) for j in nearest]))
    assert text_precision(text, image, meaning, attributes, k=7) == pytest.approx(np.mean(shares))
    unsaid = np.full_like(meaning, -1)
    assert text_precision(text, image, unsaid, attributes, k=7) == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"others": 0}, "1 or more others, got 0"),
        ({"others": 60}, "60 wrong texts are needed for each image"),
        ({"similarity": "distance"}, '"cosine" or "product", got \'distance\''),
        ({"text": np.ones((60, 4))}, "vectors of 5 and 4 numbers"),
        ({"text": np.ones((50, 5))}, r"meaning must be \[50, A\]"),
        ({"meaning": np.zeros((60, 3), int)}, r"got \[60, 3\] and \[60, 2\]"),
        ({"image": np.full((60, 5), np.inf)}, "images must be finite"),
    ],
)
def test_texts_that_cannot_be_compared_are_refused(change, message):
    names = ("image", "text", "meaning", "attributes")
    with pytest.raises(ValueError, match=message):
        r_precision(**dict(zip(names, described(), strict=True)) | change)


def test_the_number_of_nearest_images_must_fit():
    image, text, meaning, attributes = described()
    with pytest.raises(ValueError, match=r"k must lie in 1..60, the images, got 61"):
        text_precision(text, image, meaning, attributes, k=61)
