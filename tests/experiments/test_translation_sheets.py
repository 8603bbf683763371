"""Sheets of strips, and tables of scores: nothing is broken where there are few images."""

import jax
import numpy as np
import pytest

from experiments.running.tables import as_metrics
from experiments.translation.pictures import film, sheet
from experiments.translation.scores import as_table
from experiments.translation.ways import Way
from gen_jax import data


def invert(state, keys, x):
    del state, keys
    return 255 - x


@pytest.mark.parametrize("n", [1, 5, 12, 30])
def test_a_film_is_one_sheet_of_whole_strips(n):
    image = np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 3), np.uint8)
    pairs = data.Mapped(
        data.ArrayDataset("numbers", "validation", image), lambda image, rows: image + 100
    )
    found = film([Way("spatial", "image", invert)], None, jax.random.key(0), pairs)
    few = data.some(pairs, 12)["image"]
    assert len(found) == 1
    np.testing.assert_array_equal(found[0], sheet(np.stack([few + 100, 155 - few, few], axis=1)))


@pytest.mark.parametrize(
    ("shape", "size"), [((12, 4), (6, 2)), ((5, 3), (3, 2)), ((1, 3), (1, 1)), ((4, 5), (4, 1))]
)
def test_short_strips_stand_two_to_a_row(shape, size):
    picture = sheet(np.zeros((*shape, 8, 8, 3), np.uint8))
    strip = 9 * shape[1] + 1
    assert picture.shape == (size[0] * 11 + 1, size[1] * (strip + 1) + 1, 3)


def test_the_table_of_a_way_is_read_from_its_own_metrics():
    rows = {"": {"l1": 1.0, "fid": 2.0}, "best constant shift": {"l1": 3.0}}
    metrics = as_metrics(rows, "test/forward/") | as_metrics({"": {"l1": 9.0}}, "test/backward/")
    columns, cells = as_table(metrics, "test/forward/")
    assert columns == ["", "L1 [levels]", "FID"]
    assert cells == [("translation", 1.0, 2.0), ("best constant shift", 3.0, None)]
