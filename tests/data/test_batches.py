"""Any batch at any time, each example once an epoch, each example once in evaluation."""

import concurrent.futures
import random
import re

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.permutation import permutation


def numbered(n: int) -> data.ArrayDataset:
    """Images that show their own index."""
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return data.ArrayDataset("numbered", "train", images, np.arange(n))


def drawn(batch: dict[str, np.ndarray]) -> list[int]:
    assert (batch["image"] == batch["label"][:, None, None, None]).all()
    return batch["label"].tolist()


def test_a_batch_is_a_function_of_seed_batch_size_and_step():
    batches = data.Batches(numbered(23), 5, seed=3)
    first = [drawn(batches.batch_at(step)) for step in range(30)]
    steps = list(range(30))
    random.Random(0).shuffle(steps)
    for step in steps:
        assert drawn(batches.batch_at(step)) == first[step]
        assert drawn(data.Batches(numbered(23), 5, seed=3).batch_at(step)) == first[step]


def test_threads_draw_the_same_batches():
    alone = data.Batches(numbered(23), 5, seed=3)
    shared = data.Batches(numbered(23), 5, seed=3)
    steps = [random.Random(1).randrange(200) for _ in range(400)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda step: drawn(shared.batch_at(step)), steps))
    assert together == [drawn(alone.batch_at(step)) for step in steps]


@pytest.mark.parametrize(
    ("n", "batch_size"), [(23, 5), (20, 5), (7, 7), (5, 1), (5, 6), (3, 10), (2, 64)]
)
def test_each_epoch_is_another_permutation_of_all_examples(n: int, batch_size: int):
    batches = data.Batches(numbered(n), batch_size, seed=0)
    stream = [i for step in range(4 * n) for i in drawn(batches.batch_at(step))]
    epochs = [tuple(stream[start : start + n]) for start in range(0, len(stream), n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len(set(epochs)) > 1
    assert len(set(stream[: batches.steps_per_epoch * batch_size])) == n
    assert len(set(stream[: (batches.steps_per_epoch - 1) * batch_size])) < n


@pytest.mark.parametrize(("n", "batch_size"), [(23, 5), (5, 6), (3, 10), (1, 4)])
def test_an_example_is_at_its_place_of_its_epoch(n: int, batch_size: int):
    batches = data.Batches(numbered(n), batch_size, seed=3)
    for step in (0, 7, 3):
        first = step * batch_size
        expected = [permutation(n, 3, 0, i // n)[i % n] for i in range(first, first + batch_size)]
        assert drawn(batches.batch_at(step)) == expected
        assert drawn(batches.batch_at(step, slice(1, 3))) == expected[1:3]


@pytest.mark.parametrize("step", [0, 4, 9])
def test_parts_of_a_batch_make_up_the_whole(step: int):
    batches = data.Batches(numbered(23), 6, seed=1)  # step 3, of examples 18 to 23, ends an epoch
    whole = drawn(batches.batch_at(step))
    slices = [slice(0, 2), slice(2, 3), slice(3, 6)]
    assert [i for rows in slices for i in drawn(batches.batch_at(step, rows=rows))] == whole
    assert drawn(batches.batch_at(step, rows=slice(None))) == whole
    assert drawn(batches.batch_at(step, rows=slice(1, 1))) == []


def test_only_the_rows_asked_for_are_read():
    class Counting(data.ArrayDataset):
        taken = 0

        def take(self, indices):
            self.taken += len(indices)
            return super().take(indices)

    dataset = Counting("counting", "train", numbered(23).images)
    data.Batches(dataset, 8, seed=0).batch_at(2, rows=slice(2, 5))
    assert dataset.taken == 3


def test_seeds_and_epochs_give_different_orders():
    orders = {tuple(permutation(50, seed, 0, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_an_order_stays_the_same_on_every_platform_and_numpy():
    # Runs are resumed elsewhere, and years later: these values must never change.
    assert permutation(10, 0, 0, 0).tolist() == [7, 6, 8, 3, 2, 4, 1, 5, 0, 9]
    assert permutation(10, 2**40 + 1, 0, 7).tolist() == [2, 8, 5, 4, 3, 0, 1, 7, 6, 9]


def test_evaluation_sees_each_example_once_in_order():
    for n, batch_size in ((23, 5), (20, 5), (3, 8), (1, 1)):
        batches = data.evaluation_batches(numbered(n), batch_size)
        for _ in range(2):  # it can be gone through again
            seen = list(batches)
            assert len(seen) == len(batches)
            assert {batch["image"].shape for batch in seen} == {(min(batch_size, n), 2, 3, 1)}
            assert all(batch["mask"].dtype == bool for batch in seen)
            valid = [i for batch in seen for i in batch["label"][batch["mask"]].tolist()]
            assert valid == list(range(n))
            assert sum(int(batch["mask"].sum()) for batch in seen) == n


def test_an_evaluation_of_no_examples_has_no_batches():
    batches = data.evaluation_batches(numbered(0), 5)
    assert (len(batches), list(batches)) == (0, [])


def test_labels_are_absent_where_unknown():
    dataset = data.ArrayDataset("plain", "train", np.zeros((4, 2, 2, 1), np.uint8))
    assert set(data.Batches(dataset, 2, seed=0).batch_at(0)) == {"image"}
    assert set(next(iter(data.evaluation_batches(dataset, 3)))) == {"image", "mask"}


def test_selecting_composes_and_does_not_copy():
    dataset = numbered(20)
    odd = dataset.select(np.arange(1, 20, 2), "odd")
    some = odd.select(np.array([4, 0]), "some")
    assert some.split == "some"
    assert drawn(some.take(np.array([0, 1, 0]))) == [9, 1, 9]
    assert some.labels.tolist() == [9, 1]
    assert some.images[:, 0, 0, 0].tolist() == [9, 1]
    assert np.shares_memory(odd._images, dataset.images)


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (0, r"the batch size must be 1 or more, got 0"),
        (-3, r"the batch size must be 1 or more, got -3"),
    ],
)
def test_a_batch_size_that_cannot_be(batch_size: int, message: str):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        data.Batches(numbered(23), batch_size, seed=0)


def test_other_arguments_that_cannot_be():
    with pytest.raises(data.DataError, match=r"^the batch size must be 1 or more, got 0$"):
        data.evaluation_batches(numbered(3), 0)
    with pytest.raises(data.DataError, match=r"^numbered has no examples in its train split$"):
        data.Batches(numbered(0), 1, seed=0)
    with pytest.raises(data.DataError, match=r"^a step must be 0 or more, got -1$"):
        data.Batches(numbered(3), 1, seed=0).batch_at(-1)


@pytest.mark.parametrize("seed", [-1, 2**32, True, np.True_, 1.0, "1", None])
def test_seeds_that_cannot_be(seed):
    message = re.escape(f"a seed is a whole number from 0 to 2**32 - 1, got {seed!r}")
    for use in (
        lambda: data.Batches(numbered(3), 1, seed=seed),
        lambda: data.load("mnist-subset", "train", seed=seed),
        lambda: data.load_audio("strings", "train", seed=seed),
    ):
        with pytest.raises(data.DataError, match=f"^{message}$"):
            use()


def test_the_first_and_the_last_seed_can_be():
    for seed in (0, 2**32 - 1, np.uint32(7)):
        assert len(data.Batches(numbered(3), 2, seed=seed).batch_at(0)["label"]) == 2


def test_arrays_that_are_no_images():
    with pytest.raises(data.DataError, match=r"images must be uint8 \[N, H, W, C\], got float64"):
        data.ArrayDataset("x", "train", np.zeros((2, 3, 3, 1)))
    with pytest.raises(data.DataError, match=r"2 images need labels of shape \(2,\), got \(3,\)"):
        data.ArrayDataset("x", "train", np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, int))
