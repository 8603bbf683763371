"""Two domains: each shuffled by itself, all of each seen, and never by pairs."""

import itertools
import random
import re

import numpy as np
import pytest

from gen_jax import data


def numbered(n: int, *, first: int = 0, size: int = 2, channels: int = 1, name: str = "x"):
    """Images that show their own number, counted from ``first``."""
    levels = np.arange(first, first + n, dtype=np.uint8)[:, None, None, None]
    images = levels * np.ones((1, size, 3, channels), np.uint8)
    return data.ArrayDataset(name, "train", images, np.arange(n) % 2)


def drawn(batch: dict[str, np.ndarray]) -> tuple[list[int], list[int]]:
    assert batch.keys() == {"a", "b"}
    for images in batch.values():
        assert images.dtype == np.uint8
        assert (images == images[:, :1, :1, :1]).all()
    return batch["a"][:, 0, 0, 0].tolist(), batch["b"][:, 0, 0, 0].tolist()


def streams(batches: data.Batches, steps: int) -> tuple[list[int], list[int]]:
    """What each side has shown after so many steps."""
    found = [drawn(batches.batch_at(step)) for step in range(steps)]
    a, b = (list(itertools.chain.from_iterable(side)) for side in zip(*found, strict=True))
    return a, b


@pytest.mark.parametrize(
    ("n_a", "n_b", "batch_size"), [(12, 12, 4), (12, 5, 4), (3, 7, 5), (2, 9, 20)]
)
def test_each_side_shows_all_of_itself_once_in_each_epoch_of_its_own(n_a, n_b, batch_size):
    domains = data.TwoDomains(numbered(n_a), numbered(n_b))
    batches = data.Batches(domains, batch_size, seed=0)
    for n, shown in zip((n_a, n_b), streams(batches, 60), strict=True):
        epochs = [shown[start : start + n] for start in range(0, len(shown) - n + 1, n)]
        assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) > 1
    assert len(domains) == max(n_a, n_b)
    assert batches.steps_per_epoch == -(-max(n_a, n_b) // batch_size)


def test_no_pair_is_systematically_drawn_together():
    n, steps = 12, 2400
    domains = data.TwoDomains(numbered(n), numbered(n))
    a, b = streams(data.Batches(domains, 4, seed=5), steps)
    together = np.zeros((n, n))
    np.add.at(together, (a, b), 1)
    expected = 4 * steps / n**2  # of independent orders
    # 144 counts, each within 4.5 standard deviations
    assert np.abs(together - expected).max() < 4.5 * np.sqrt(expected)
    assert abs(np.trace(together) - n * expected) < 4.5 * np.sqrt(n * expected)


def test_the_orders_of_the_sides_are_not_correlated():
    n = 200
    for seed in range(5):
        batches = data.Batches(data.TwoDomains(numbered(n), numbered(n)), n, seed=seed)
        for step in range(4):
            a, b = drawn(batches.batch_at(step))
            assert a != b
            assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(n)


def test_any_batch_can_be_made_at_any_time():
    domains = data.TwoDomains(numbered(13), numbered(7))
    batches = data.Batches(domains, 5, seed=3)
    first = [drawn(batches.batch_at(step)) for step in range(30)]
    steps = list(range(30))
    random.Random(0).shuffle(steps)
    for step in steps:
        assert drawn(batches.batch_at(step)) == first[step]
        assert drawn(data.Batches(domains, 5, seed=3).batch_at(step)) == first[step]
        parts = [drawn(batches.batch_at(step, rows)) for rows in (slice(0, 2), slice(2, 5))]
        assert tuple([*two, *three] for two, three in zip(*parts, strict=True)) == first[step]
    assert drawn(data.Batches(domains, 5, seed=4).batch_at(0)) != first[0]


def test_the_order_of_a_side_depends_on_nothing_of_the_other():
    alone = streams(data.Batches(data.TwoDomains(numbered(9), numbered(4)), 5, seed=1), 20)
    other = streams(data.Batches(data.TwoDomains(numbered(9), numbered(30)), 5, seed=1), 20)
    assert alone[0] == other[0]


def test_evaluation_shows_rows_in_order_and_the_smaller_side_spread_along_them():
    domains = data.TwoDomains(numbered(7), numbered(3))
    assert drawn(domains.take(np.array([6, 0, 3]))) == ([6, 0, 3], [2, 0, 1])
    batches = list(data.evaluation_batches(domains, 4))
    assert all(batch.keys() == {"a", "b", "mask"} for batch in batches)
    a, b = (
        [number for batch in batches for number in batch[side][batch["mask"], 0, 0, 0].tolist()]
        for side in "ab"
    )
    assert (a, b) == (list(range(7)), [0, 0, 0, 1, 1, 2, 2])


def test_selected_rows_are_those_that_take_numbers():
    domains = data.TwoDomains(numbered(7), numbered(3), name="both")
    rows = np.array([5, 1, 6])
    part = domains.select(rows, "part")
    assert (part.name, part.split, len(part)) == ("both", "part", 3)
    assert drawn(part.take(np.arange(3))) == drawn(domains.take(rows))
    renamed = domains.select(None, "test")
    assert (renamed.split, len(renamed.a), len(renamed.b)) == ("test", 7, 3)
    assert renamed.digest == domains.digest
    assert len(data.part(domains, 4)) == len(data.some(domains, 4)["a"]) == 4


def test_a_digest_changes_when_either_side_does():
    def digest(a=0, b=0, **options):
        return data.TwoDomains(numbered(4, first=a), numbered(4, first=b), **options).digest

    digests = {digest(), digest(1), digest(0, 1), digest(1, 1), digest(aligned=True)}
    assert len(digests) == 5
    assert digest(name="y") == digest()


def test_labels_stay_with_the_sides():
    domains = data.TwoDomains(numbered(6), numbered(4, name="y"))
    assert domains.example_spec == data.ExampleSpec("domains", (2, 3, 1), None)
    assert domains.labels is domains.class_names is None
    assert domains.name == "x and y"
    np.testing.assert_array_equal(domains.b.take(np.arange(4))["label"], [0, 1, 0, 1])
    with pytest.raises(
        data.DataError,
        match=r"has no labels; its sides a and b may have$",
    ):
        domains.with_classes(["0", "1"])


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (
            (numbered(3), numbered(3, size=4, name="y")),
            {},
            "images differ in size: b, the train split of y, is 4×3 (height×width), a, the train "
            "split of x, 2×3; give an image_size to make them alike",
        ),
        (
            (numbered(3), numbered(3, channels=3, name="y")),
            {},
            "images differ in channels: b, the train split of y, has 3, a, the train split of x, "
            "1; give channels=1 (gray) or channels=3 (RGB) to make them alike",
        ),
        (
            (numbered(3), numbered(0)),
            {},
            "the train split of x has no images; two domains need some of each",
        ),
        (
            (numbered(0), numbered(3)),
            {},
            "the train split of x has no images; two domains need some of each",
        ),
        (
            (numbered(3), numbered(4)),
            {"aligned": True},
            "the train split of x has 3 images and the train split of x 4; aligned domains need as "
            "many of each",
        ),
        (
            (numbered(3), data.Mapped(numbered(3), data.conditions.Gray())),
            {},
            "the train split of x holds pairs of images; single images are needed",
        ),
    ],
)
def test_sides_that_are_no_two_domains(sides, options, message):
    with pytest.raises(data.DataError, match=f"^{re.escape(message)}$"):
        data.TwoDomains(*sides, **options)
