import json
import math

import pytest

from gen_jax.reporting.metrics import format_value, group_curves, read_rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_one_step_are_one_row(tmp_path):
    path = write(
        tmp_path / "m.jsonl",
        [{"step": 1, "time": 1.0, "train/loss": 3.0}, {"step": 1, "time": 2.0, "test/nll": 4.0}],
    )
    assert read_rows(path) == [{"step": 1, "time": 2.0, "train/loss": 3.0, "test/nll": 4.0}]


def test_a_resumed_run_repeats_steps_and_its_time_runs_on(tmp_path):
    path = write(
        tmp_path / "m.jsonl",
        [
            {"step": 10, "time": 5.0, "train/loss": 3.0},
            {"step": 20, "time": 9.0, "train/loss": 2.0},
            {"step": 20, "time": 1.0, "train/loss": 2.5},
            {"step": 30, "time": 4.0, "train/loss": 1.0},
        ],
    )
    rows = read_rows(path)
    assert [(r["step"], r["time"], r["train/loss"]) for r in rows] == [
        (10, 5.0, 3.0),
        (20, 10.0, 2.5),
        (30, 13.0, 1.0),
    ]


def test_torn_and_foreign_lines_are_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "time": 1.0, "a": 2}\n[1]\n"x"\n{"a": 1}\nnull\n{"step": 2, "ti')
    assert read_rows(path) == [{"step": 1, "time": 1.0, "a": 2}]
    foreign = '{"step": Infinity}', '{"step": NaN}', f'{{"step": {"9" * 400}}}', "[" * 10_000
    path.write_text("\n".join([*foreign, '{"step": 1, "time": 1.0, "a": 2}\n']))
    assert read_rows(path) == [{"step": 1, "time": 1.0, "a": 2}]
    assert read_rows(tmp_path / "missing.jsonl") == []


def test_splits_share_a_chart_and_validation_comes_first():
    rows = [
        {"step": i, "time": float(i), "train/loss": 1.0 / i, "train/kl": i, "validation/kl": i + 1}
        for i in (1, 2, 3)
    ]
    charts = group_curves(rows)
    assert [set(chart.series) for chart in charts] == [{"train", "validation"}, {"train"}]
    assert charts[0].series["validation"] == ([1, 2, 3], [2.0, 3.0, 4.0])
    assert charts[0].y_label == "KL [nats per image]"


def test_a_likelihood_is_also_drawn_against_time():
    rows = [{"step": i, "time": i * 0.5, "validation/elbo": -100.0 + i} for i in (1, 2)]
    by_step, by_time = group_curves(rows)
    assert by_step.series["validation"] == ([1, 2], [-99.0, -98.0])
    assert by_time.series["validation"] == ([0.5, 1.0], [-99.0, -98.0])
    assert by_time.x_label == "training time [s]"


def test_speed_has_its_own_section_and_constants_are_no_curve():
    rows = [
        {"step": i, "time": 0.0, "speed/examples_per_s": 10.0 + i, "speed/compile_s": 2.0}
        for i in (1, 2)
    ]
    (chart,) = group_curves(rows)
    assert (chart.section, chart.title) == ("speed", "examples per second by step")


def test_likelihoods_come_first_then_what_was_validated():
    names = "train/loss", "validation/mse", "train/nll"
    rows = [{"step": i, "time": i, **dict.fromkeys(names, i)} for i in (1, 2)]
    titles = [chart.title for chart in group_curves(rows)]
    assert titles == [
        "negative log-likelihood (train) by step",
        "negative log-likelihood (train) by time",
        "mean squared error (validation) by step",
        "loss (train) by step",
    ]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1.0, 50.0], True),
        ([1.0, 2.0], False),
        ([-1.0, 50.0], False),
        ([math.nan, 1.0, 2.0], False),
    ],
)
def test_a_wide_positive_range_is_drawn_on_a_log_axis(values, log):
    rows = [{"step": i, "time": 0.0, "train/loss": value} for i, value in enumerate(values)]
    (chart,) = group_curves(rows)
    assert chart.log_y is log


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "True"),
        ("dynamic", "dynamic"),
        (1234567, "1\u2009234\u2009567"),
        (21873.4, "21\u2009873"),
        (-1234.5, "\u22121\u2009234"),
        (999.126, "999.13"),
        (-143.987, "\u2212143.99"),
        (0.25617, "0.256"),
        (0.000123456, "0.000123"),
        (0.0, "0.000"),
        (math.nan, "nan"),
        (-math.inf, "\u2212inf"),
    ],
)
def test_values_are_written_for_readers(value, text):
    assert format_value(value) == text
