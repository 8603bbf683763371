"""Sets of mazes: pairs of a maze and its path, by name."""

import tracemalloc

import numpy as np
import pytest

from gen_jax import data
from gen_jax.data.mazes import making, plans
from gen_jax.data.mazes.source import N_HELD_OUT, N_TRAIN, Mazes
from gen_jax.data.pictures.picture import ImageOptions


@pytest.mark.parametrize("kind", making.KINDS)
@pytest.mark.parametrize("cells", [3, 8])
def test_an_example_is_a_maze_and_its_shortest_path(kind, cells):
    pairs = data.load_pairs(f"mazes:{kind}:{cells}:25", "train", seed=1)
    side = 2 * cells + 1
    assert pairs.example_spec == data.ExampleSpec("image", (side, side, 1), None, (side, side, 3))
    assert pairs.name == f"mazes:{kind}:{cells}:25"
    assert (len(pairs), pairs.split, pairs.skipped) == (25, "train", 0)
    examples = pairs.take(np.arange(25))
    assert set(np.unique(examples["image"])) == set(np.unique(examples["spatial"])) == {0, 255}
    verdicts = plans.check(examples["spatial"], examples["image"])
    assert verdicts.optimal.all()
    assert verdicts.length.min() >= cells
    np.testing.assert_array_equal(plans.shortest(examples["spatial"]).path, examples["image"])


def test_splits_are_of_stated_sizes():
    assert (N_TRAIN, N_HELD_OUT) == (20_000, 500)
    for spec, sizes in (("mazes:rooms:3", (20_000, 500, 500)), ("mazes:rooms:3:7", (7, 7, 7))):
        for split, size in zip(making.SPLITS, sizes, strict=True):
            assert len(data.load_pairs(spec, split)) == size
    both = data.load_pairs("mazes:loops:3:9", "train+val").take(np.arange(18))
    parts = [
        data.load_pairs("mazes:loops:3:9", split).take(np.arange(9)) for split in ("train", "val")
    ]
    for name, array in both.items():
        np.testing.assert_array_equal(array, np.concatenate([part[name] for part in parts]))


def test_examples_do_not_depend_on_how_many_there_are(monkeypatch):
    few = data.load_pairs("mazes:rooms:4:5", "test", seed=9)
    many = data.load_pairs("mazes:rooms:4:40", "test", seed=9)
    monkeypatch.setattr("gen_jax.data.mazes.source._PIXELS", 3 * 81)  # three mazes at a time
    again = data.load_pairs("mazes:rooms:4:40", "test", seed=9)
    other = data.load_pairs("mazes:rooms:4:40", "test", seed=8)
    assert again.digest == many.digest != other.digest
    for name, array in few.take(np.arange(5)).items():
        np.testing.assert_array_equal(array, many.take(np.arange(5))[name])


@pytest.mark.parametrize(
    "spec",
    ["mazes:", "mazes", "mazes:perfect", "mazes:round:8", "mazes:perfect:x", "mazes:perfect:8:",
     "mazes:perfect:-8", "mazes:perfect:8:9:1", f"mazes:perfect:{'9' * 5000}"],
)  # fmt: skip
def test_names_that_are_none(spec):
    with pytest.raises(
        data.DataError, match=r"^mazes are called mazes:KIND:CELLS or mazes:KIND:CELLS:N, .*, got '"
    ):
        data.load_pairs(spec, "train")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mazes:perfect:1", {}, "a maze must have at least 3 cells a side, got 1"),
        ("mazes:perfect:8:0", {}, "mazes:perfect:8:0: N must be 1 or more, got 0"),
        ("mazes:perfect:8", {"seed": -1}, "a seed is a whole number from 0 .*, got -1"),
        (
            "mazes:loops:8",
            {"image_size": 64, "channels": 1, "skip_bad_images": True, "reverse": True},
            "mazes:loops:8: mazes take no image_size, channels, skip_bad_images, reverse; their "
            "size follows from CELLS",
        ),
        (
            "mazes:rooms:999999999:1",
            {},
            r"mazes:rooms:999999999:1: 1 mazes of 1999999999×1999999999 pixels take 6.1\de\+11 GiB,"
            r" more than the memory_limit of 4 GiB; ask for fewer \(mazes:rooms:999999999:N\) or "
            r"smaller ones",
        ),
        (
            "mazes:rooms:100:100000",
            {"memory_limit": 2**33},
            r"mazes:rooms:100:100000: 100000 mazes of 201×201 pixels take 15.1 GiB, more than the "
            r"memory_limit of 8 GiB; ask for fewer .*",
        ),
    ],
)
def test_mazes_that_cannot_be_made(spec, options, message):
    with pytest.raises(data.DataError, match=f"^{message}$"):
        data.load_pairs(spec, "train", **options)


def test_a_near_name_is_suggested():
    with pytest.raises(data.DataError, match=r"\(did you mean mazes:perfect:8\?\)"):
        data.load_pairs("maze:perfect:8", "train")
    with pytest.raises(data.DataError, match=r"^mazes:loops:4 has no split 'trial'; it has train,"):
        data.load_pairs("mazes:loops:4", "trial")


def test_opening_takes_no_more_memory_than_it_says():
    source = Mazes("mazes:loops:8:4000", ImageOptions(), seed=0)
    source.open("validation")  # imports what it needs
    tracemalloc.start()
    source.open("train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Not more than what is refused by a smaller limit.
    options = ImageOptions(memory_limit=peak)
    with pytest.raises(data.DataError, match="memory_limit"):
        Mazes("mazes:loops:8:4000", options, seed=0).open("train")
