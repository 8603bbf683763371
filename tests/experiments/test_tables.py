"""Scores side by side: what a summary keeps of them, and the tables made of that."""

import pytest

from experiments.mazes import scores as mazes_scores
from experiments.pixels.completion_setup import LIKELIHOODS
from experiments.pixels.completions import Calibration
from experiments.running.tables import as_metrics, as_rows, tabulated
from experiments.text import scores as text_scores
from experiments.translation import scores as translation_scores
from gen_jax.reporting.meanings import describe

ROWS = {"": {"l1": 1.0, "fid": 2.0}, "best of 16": {"l1": 3.0}, "search": {"seconds": 0.5}}
MEASURES = {"l1": "L1", "psnr": "PSNR", "seconds": "time [s]", "fid": "FID"}


def test_rows_come_back_from_a_summary_of_several_sets_of_them():
    other = {"": {"l1": 9.0}, "best of 16": {"l1": 8.0}}
    metrics = as_metrics(ROWS) | as_metrics(other, "test/larger/") | {"images": 4, "test/nll": 1.0}
    assert metrics["test/best-of-16/l1"] == 3.0
    assert metrics["test/larger/l1"] == 9.0
    assert as_rows(metrics, MEASURES, "test/larger/") == other
    own = as_rows(metrics, MEASURES)
    assert {name: own[name] for name in ROWS} == ROWS


def test_only_the_measures_asked_for_come_back():
    assert as_rows(as_metrics(ROWS), {"seconds"}) == {"search": {"seconds": 0.5}}


def test_a_table_has_the_measures_that_any_row_has_in_the_order_of_their_titles():
    assert tabulated(ROWS, MEASURES) == (
        ["", "L1", "time [s]", "FID"],
        [("", 1.0, None, 2.0), ("best of 16", 3.0, None, None), ("search", None, 0.5, None)],
    )
    columns, cells = tabulated(ROWS, {"seconds": "time [s]", "l1": "L1"})
    assert columns == ["", "time [s]", "L1"]
    assert cells[1] == ("best of 16", None, 3.0)


def test_the_report_explains_every_likelihood_of_a_completion():
    names = {f"bits_per_dim/{name}" for name in LIKELIHOODS}
    assert {*Calibration._fields, "colourless"} == {*LIKELIHOODS, "likelier"}
    for name in (*names, "likelier"):
        assert describe(f"completed/{name}", {}).explanation, name


@pytest.mark.parametrize("scores", [mazes_scores, text_scores, translation_scores])
def test_the_report_explains_every_column(scores):
    unexplained = {
        name for name in scores.TITLES if not describe(f"test/row/{name}", {}).explanation
    }
    assert unexplained <= {"seconds"}
