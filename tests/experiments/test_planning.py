"""Plans by generation: how they are measured, what they are asked for, and a run of the command."""

import json
import pathlib

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from experiments import evaluate, planning, sample, translate
from experiments.mazes import walks, wishes
from experiments.mazes.planner import Planner, Plans, with_more_steps
from experiments.mazes.scores import (
    Scorer,
    add_table,
    as_counts,
    as_groups,
    as_metrics,
    judged,
    of_plans,
)
from experiments.running.options import UsageError
from experiments.running.reopened import reopen
from experiments.running.run import run
from gen_jax import autoregressive, data, densities, training
from gen_jax.data.mazes import making, plans
from gen_jax.reporting.pictures import read_entries

KINDS = ("perfect", "loops", "rooms")


def mazes(n: int, cells: int = 4, kind: str = "perfect") -> np.ndarray:
    return making.make(n, cells, kind, seed=3).spatial


@pytest.fixture(scope="module")
def state():
    """A model that has learned nothing."""
    model = autoregressive.GatedPixelCNN(
        densities.Bernoulli("threshold"),
        layers=1,
        features=4,
        skip_features=4,
        first_kernel=3,
        condition=autoregressive.IteratedEncoder(4, steps=2, stride=2),
    )
    spatial = mazes(2)
    cond = autoregressive.Condition(spatial=spatial)
    return autoregressive.init(
        model, optax.sgd(0.1), jax.random.key(0), spatial[..., :1], cond=cond
    )


class Oracle(Planner):
    """Draws from probabilities that are the truth: of the shortest path as it is asked for."""

    def __call__(self, state, key, spatial, n, *, wishes=None) -> Plans:
        del state, key
        asked = () if wishes is None else (wishes.way_points, wishes.forbidden)
        on = plans.shortest(spatial, *asked).path[:, None, ..., 0].repeat(n, 1) / 255.0
        drawn = (np.random.default_rng(0).random(on.shape) < on)[..., None]
        return Plans(drawn.astype(np.uint8) * 255, np.zeros(on.shape[:2]), on)


# Guided walks


@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_guided_by_the_true_marginals_is_the_shortest_path(kind):
    spatial = mazes(20, 5, kind)
    truth = plans.shortest(spatial).path
    np.testing.assert_array_equal(walks.guided(spatial, truth[..., 0] / 255.0), truth)


def test_a_walk_keeps_to_free_pixels_whatever_guides_it():
    spatial = mazes(20)
    noise = np.random.default_rng(0).random(spatial.shape[:3])
    walked = walks.guided(spatial, noise)
    assert not (walked[..., 0] & spatial[..., 0]).any()
    verdicts = plans.check(spatial, walked)
    assert verdicts.valid.any()
    assert not verdicts.valid.all()  # it ends in dead ends: there is no search


# What is asked for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2])
def test_way_points_lie_on_a_path_that_can_be_drawn(kind, k):
    spatial = mazes(30, 4, kind)
    asked = wishes.way_points(spatial, k, np.random.default_rng(0))
    kept = spatial[asked.numbers]
    best = plans.shortest(kept, asked.way_points)
    # Pixels of the shortest path can be passed; of others only those that can be drawn are asked.
    assert best.drawable.all()
    assert len(kept) > 5
    detours = best.length > plans.shortest(kept).length
    np.testing.assert_array_equal(asked.changing, detours)
    assert detours.all() if kind != "perfect" else not detours.any()


@pytest.mark.parametrize("kind", KINDS)
def test_past_a_forbidden_pixel_a_path_is_left(kind):
    spatial = mazes(30, 4, kind)
    asked = wishes.forbidden(spatial, np.random.default_rng(0))
    kept = spatial[asked.numbers]
    found = plans.shortest(kept, avoiding=asked.forbidden)  # refuses a maze without a path
    moved = (found.path != plans.shortest(kept).path).any((1, 2, 3))
    assert len(kept) > 5
    np.testing.assert_array_equal(asked.changing, moved)
    assert moved.all() if kind != "perfect" else not moved.any()
    assert len(kept) <= asked.tried <= len(spatial)


def test_paths_with_too_few_pixels_for_the_way_points_are_left_out():
    spatial = mazes(30, 3)
    length = plans.shortest(spatial).length
    k = int(np.median(length))
    asked = wishes.way_points(spatial, min(k, 4), np.random.default_rng(0))
    np.testing.assert_array_equal(asked.numbers, np.flatnonzero(length > min(k, 4)))


def test_every_plan_passes_its_way_points_and_keeps_off_forbidden_pixels(state):
    spatial = mazes(6)
    rng = np.random.default_rng(0)
    through, off = wishes.way_points(spatial, 2, rng), wishes.forbidden(spatial, rng)
    assert len(through.numbers) == len(off.numbers) == len(spatial)
    asked = wishes.Wishes(
        through.numbers, through.way_points, off.forbidden, through.changing | off.changing, 6
    )
    drawn = Planner(8)(state, jax.random.key(1), spatial, 3, wishes=asked)
    rows = np.arange(6)[:, None]
    for j in range(3):
        plan = drawn.path[:, j, ..., 0]
        assert (plan[rows, asked.way_points[..., 0], asked.way_points[..., 1]] == 255).all()
        assert (plan[rows, asked.forbidden[..., 0], asked.forbidden[..., 1]] == 0).all()


# Plans and their numbers


def test_plans_come_with_their_likelihood_and_do_not_depend_on_chunks(state):
    spatial = mazes(3)
    drawn = Planner(4)(state, jax.random.key(1), spatial, 3)
    again = Planner(9)(state, jax.random.key(1), spatial, 3)
    np.testing.assert_array_equal(drawn.path, again.path)
    log_prob = autoregressive.log_prob(
        state.model,
        state.params,
        drawn.path.reshape(9, *spatial.shape[1:3], 1),
        cond=autoregressive.Condition(spatial=np.repeat(spatial, 3, 0)),
    )
    np.testing.assert_allclose(drawn.log_prob.reshape(-1), log_prob, rtol=1e-5)
    on = np.where(drawn.path[..., 0] > 0, drawn.on, 1.0 - drawn.on)
    np.testing.assert_allclose(np.log(on).sum((2, 3)), drawn.log_prob, rtol=1e-4)


def test_the_best_of_the_first_n_is_the_likeliest():
    path = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
    log_prob = np.array([[-2.0, -1.0, -3.0], [-3.0, -2.0, -1.0]])
    drawn = Plans(path, log_prob, path[..., 0] / 10.0)
    assert drawn.best(1).tolist() == path[:, 0].tolist()
    assert drawn.best(2)[:, 0, 0, 0].tolist() == [1, 4]
    assert drawn.best(3)[:, 0, 0, 0].tolist() == [1, 5]
    np.testing.assert_allclose(drawn.marginals(3)[:, 0, 0], [0.1, 0.4])


@pytest.mark.parametrize("kind", ["perfect", "loops"])
def test_the_plans_of_a_perfect_model_score_full_marks(state, kind):
    test = data.load_pairs(f"mazes:{kind}:3:20", "test")
    scorer = Scorer(Oracle(8), (1, 2), mazes=20, larger=2, way_points=1, seed=0)
    groups = scorer.groups(state, jax.random.key(0), test)
    assert set(groups) == {"", "larger", "way-points", "forbidden"}
    for rows in groups.values():
        assert {"best of 1", "best of 2", "any of 2"} <= set(rows)
        for row in rows.values():
            assert row["valid"] == row.get("optimal", 1.0) == row.get("kept", 1.0) == 1.0
            assert row.get("excess", 0.0) == 0.0
    assert {"walk by 1", "walk by 2", "search"} <= set(groups["larger"])
    counts = as_counts(scorer.asked(test))
    assert 0 < counts["test/way-points/mazes"] <= 5
    for name in ("way-points/longer_path", "forbidden/on_path"):
        group = name.partition("/")[0]
        mazes, tried = (counts[f"test/{group}/{of}"] for of in ("mazes", "tried"))
        assert mazes <= tried <= 5
        assert counts[f"test/{name}"] == (0 if kind == "perfect" else mazes)
    metrics = as_metrics(groups) | counts
    assert metrics["test/larger/best-of-2/valid"] == 1.0
    assert as_groups({"test/nll": 1.0, **metrics}) == groups


@pytest.mark.parametrize("changing", [0, 4])
def test_a_table_says_whether_plans_had_to_change_for_what_was_asked(tmp_path, changing):
    metrics = {"test/forbidden/best-of-1/valid": 0.5, "test/forbidden/mazes": 4}
    counts = {"test/forbidden/tried": 5, "test/forbidden/on_path": changing}
    add_table(tmp_path, metrics | counts)
    (entry,) = read_entries(tmp_path)
    assert f"In {changing} of 5 mazes tried" in entry.caption
    assert ("it is a hint, and not a test" in entry.caption) == (changing == 0)
    assert entry.title.endswith("beside the path of the data") == (changing == 0)


def test_a_better_plan_among_worse_is_counted_where_it_is_looked_for():
    spatial = mazes(4)
    truth = plans.shortest(spatial).path
    path = np.stack([np.zeros_like(truth), truth], 1)
    liked = np.array([[-1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [0.0, -1.0]])
    rows = of_plans(spatial, Plans(path, liked, path[..., 0] / 255.0), (1, 2))
    valid = {name: row["valid"] for name, row in rows.items()}
    assert (valid["best of 1"], valid["best of 2"], valid["any of 2"]) == (0.0, 0.5, 1.0)
    assert "optimal" not in rows["best of 1"]


def test_a_plan_that_ignores_what_is_asked_for_is_not_valid():
    spatial = mazes(30, 4, "loops")
    asked = wishes.forbidden(spatial, np.random.default_rng(0))
    kept = spatial[asked.numbers]
    usual = plans.shortest(kept).path
    columns = judged(kept, usual, asked)
    assert columns["valid"] == columns["kept"] < 1.0
    assert judged(kept, usual)["valid"] == 1.0


def test_larger_mazes_take_more_steps_of_the_same_parameters(state):
    larger = with_more_steps(state, 3)
    assert larger.model.condition.steps == 6
    jax.tree.map(np.testing.assert_array_equal, larger.params, state.params)
    drawn = Planner(4)(larger, jax.random.key(1), mazes(2, 8), 1)
    assert drawn.path.shape == (2, 1, 17, 17, 1)


# A run


def start(folder: pathlib.Path, *options: str) -> pathlib.Path:
    return run(planning.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet", *options])


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> pathlib.Path:
    return start(tmp_path_factory.mktemp("runs") / "planning")


def read_metrics(folder: pathlib.Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def untimed(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if not name.endswith("seconds")}


@pytest.mark.smoke
def test_a_run_learns_and_shows_what_it_promises(planned):
    metrics = read_metrics(planned)
    assert metrics["test/search/valid"] == metrics["test/search/optimal"] == 1.0
    for row in (
        "best-of-1",
        "best-of-2",
        "any-of-2",
        "walk-by-2",
        "pix2pix-l2",
        "walk-by-pix2pix-l2",
    ):
        assert 0.0 <= metrics[f"test/{row}/valid"] <= 1.0
    assert metrics["test/best-of-2/seconds"] > 0.0
    assert metrics["test/way-points/best-of-1/kept"] == 1.0
    assert metrics["test/forbidden/best-of-1/kept"] == 1.0
    assert metrics["test/way-points/longer_path"] == metrics["test/forbidden/on_path"] == 0
    assert 0.0 <= metrics["test/larger/best-of-2/valid"] <= 1.0
    rows = [json.loads(line) for line in (planned / "metrics.jsonl").read_text().splitlines()]
    nll = [row["validation/nll"] for row in rows if "validation/nll" in row]
    assert nll[-1] < nll[0]
    page = (planned / "report.html").read_text()
    for title in ("Plans as they are drawn", "Failures", "Larger mazes", "Plans drawn in one go"):
        assert title in page
    with Image.open(planned / "samples" / "drawing.gif") as film:
        assert film.n_frames > 7


@pytest.mark.smoke
def test_a_run_is_evaluated_and_sampled_again(planned, tmp_path):
    numbers = tmp_path / "numbers.json"
    evaluate.program([str(planned), "--out", str(numbers)])
    own = {name: value for name, value in read_metrics(planned).items() if "pix2pix" not in name}
    assert untimed(json.loads(numbers.read_text())) == untimed(own)
    evaluate.program([str(planned), "--dataset", "mazes:loops:3:20", "--out", str(numbers)])
    assert untimed(json.loads(numbers.read_text())) != untimed(own)
    out = tmp_path / "plans.png"
    sample.program([str(planned), "--num", "4", "--out", str(out)])
    with Image.open(out) as picture:
        assert picture.size == (2 * 8 + 1, 2 * 8 + 1)
    assert reopen(planned / "pix2pix-l2").experiment.name == "pix2pix"
    made = tmp_path / "made"
    with pytest.raises(training.RunError, match="this works for"):
        translate.program([str(planned), "--input", str(out), "--output", str(made)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "mazes:spiral:8"], "mazes are called mazes:KIND:CELLS"),
        (["--dataset", "mnist-subset"], "planning takes --dataset mazes:KIND:CELLS"),
        (["--dataset", "mazes:perfect:2"], "at least 3 cells a side"),
        (["--image-size", "8"], "mazes take no image_size"),
        (["--plans", "4", "1"], "--plans must be ascending numbers of 1 or more, got 4 1"),
        (["--plans", "0", "1"], "--plans must be ascending numbers of 1 or more, got 0 1"),
        (["--way-points", "-1"], "--way-points must be 0 or more, got -1"),
        (["--way-points", "7"], "--way-points must be at most 6, got 7"),
        (["--way-points", "3"], "--way-points must be fewer than the 3 cells"),
        (["--rival", "none", "--rival-steps", "5"], "applies only to a --rival other than none"),
        (["--larger", "0"], "--larger must be 1 or more, got 0"),
    ],
)
def test_mistakes_are_one_line(tmp_path, options, message):
    with pytest.raises((UsageError, data.DataError), match=message) as error:
        start(tmp_path / "run", *options)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run").rglob("metrics.jsonl"))
