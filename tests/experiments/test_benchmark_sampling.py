"""The sampling benchmark measures what it says, at sizes that compile at once."""

import importlib.util
import json
import re

import jax
import pytest
from PIL import Image

from experiments import benchmark_sampling
from experiments.benchmarks import sampling_cases
from experiments.running.options import UsageError

pytestmark = pytest.mark.smoke
TORCH = importlib.util.find_spec("torch") is not None
COLUMNS = {
    "model",
    "method",
    "batch",
    "shape",
    "compile_s",
    "seconds",
    "forward_s",
    "ratio_to_forward",
    "speedup_over_naive",
    "passes",
    "agree",
}


@pytest.mark.slow
def test_every_network_and_method_has_a_row_that_holds_together(tmp_path):
    out = tmp_path / "rows.json"
    options = benchmark_sampling.Options()
    # Tiny, gated-12x64 is gated-7x32; the third is in the next test.
    models = [name for name in options.models if name not in ("gated-12x64", "gated-residual")]
    benchmark_sampling.program(["smoke", "--model", *models, "--out", str(out), "--no-peer"])
    rows = json.loads(out.read_text())["rows"]
    assert {row["model"] for row in rows} == set(models)
    for row in rows:
        assert row.keys() >= COLUMNS
        assert row["ratio_to_forward"] == pytest.approx(row["seconds"] / row["forward_s"])
        assert row["images_per_s"] == pytest.approx(row["batch"] / row["seconds"])
        assert row["compile_s"] > 0
        if row["model"] not in sampling_cases.CACHED_ALONE:
            assert row["agree"] == 1.0, row  # all of so few images
        assert (row["ratio_to_unconditional"] is None) == (row["model"] != "gated-unet")
    by_method = {row["method"]: row for row in rows if row["model"] == "gated-7x32"}
    assert set(by_method) == set(options.method)
    assert by_method["naive"]["passes"] == 36
    assert 1 < by_method["jacobi"]["passes"] <= 36
    assert by_method["cached"]["speedup_over_naive"] == pytest.approx(
        by_method["naive"]["seconds"] / by_method["cached"]["seconds"]
    )
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 100


def test_models_of_another_method_alone_are_left_out_where_none_is_named():
    every = benchmark_sampling.Options().models
    naive = benchmark_sampling.Options(method=("naive",)).models
    assert set(every) - set(naive) == set(sampling_cases.CACHED_ALONE)
    assert benchmark_sampling.Options(model=("wavenet",)).models == ("wavenet",)


def test_rows_can_be_chosen():
    arguments = ["smoke", "--model", "gated-residual", "--method", "cached", "--batch", "2", "4"]
    result = benchmark_sampling.program([*arguments, "--size", "5", "--no-peer", "--devices", "2"])
    rows = result["rows"]
    assert [(row["batch"], row["shape"]) for row in rows] == [(2, [5, 5, 1]), (4, [5, 5, 1])]
    assert all(row["speedup_over_naive"] is None for row in rows)
    assert all(row["ratio_to_unconditional"] > 0 for row in rows)
    assert all(row["devices"] == 2 for row in rows)


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_the_twin_computes_our_outputs_from_our_parameters():
    import numpy as np
    import torch

    from experiments.benchmarks import torch_pixels

    options = benchmark_sampling.Options(small=True, size=6)
    case = benchmark_sampling.make_case("gated-7x32", options)
    params = case.start().params
    twin = torch_pixels.GatedPixelCNN(case.model, 1)
    with torch.no_grad():
        for name, layer in twin.named_modules():
            if isinstance(layer, torch.nn.Conv2d):
                ours = params[name.replace(".", "_")]
                layer.weight.copy_(torch.from_numpy(np.array(ours["kernel"]).transpose(3, 2, 0, 1)))
                layer.bias.copy_(torch.from_numpy(np.array(ours["bias"])))
    x = np.random.default_rng(0).integers(0, 2, (2, 6, 6, 1)).astype(np.float32)
    theirs = twin(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy()
    ours = case.model.apply({"params": params}, x)
    np.testing.assert_allclose(ours[..., 0, :], theirs.transpose(0, 2, 3, 1), atol=1e-5)


def test_colour_is_drawn_by_every_network_of_images():
    options = benchmark_sampling.Options(small=True, size=6, channels=3)
    for name in benchmark_sampling.Options().models:
        case = benchmark_sampling.make_case(name, options)
        assert case.shape == ((6, 1) if name == "wavenet" else (6, 6, 3))
    arguments = ["smoke", "--channels", "3", "--model", "gated-trained", "--method", "cached"]
    (row,) = benchmark_sampling.program(arguments)["rows"]
    assert row["shape"] == [6, 6, 3]


def gated_rows(*options: str) -> list:
    arguments = ["smoke", "--model", "gated-7x32", "--method", "cached", "--size", "4", *options]
    return benchmark_sampling.program(arguments)["rows"]


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_a_peer_is_measured_where_it_is_one(capsys, monkeypatch):
    assert [row["method"] for row in gated_rows()] == ["cached", "naive (PyTorch)"]
    for options, reason in [
        (["--dtype", "bfloat16"], "its twins compute in float32, not in bfloat16"),
        (["--channels", "3"], "its twin draws one unit a pixel, not 3"),
    ]:
        assert [row["method"] for row in gated_rows(*options)] == ["cached"]
        assert f"PyTorch is not measured: {reason}." in capsys.readouterr().out
    monkeypatch.setattr(benchmark_sampling, "count_parameters", lambda params: 1)
    assert [row["method"] for row in gated_rows()] == ["cached"]
    assert re.search(r"its twin has \d+ parameters, ours 1\.", capsys.readouterr().out)


def test_batches_are_checked_before_anything_is_measured(monkeypatch):
    benchmark_sampling.require_devices(benchmark_sampling.Options(devices=len(jax.devices())))
    monkeypatch.setattr(jax, "devices", lambda: [None] * 8)
    monkeypatch.setattr(benchmark_sampling, "rows_of", None)  # so that measuring fails
    with pytest.raises(UsageError, match="gated-side: --batch 4 cannot be spread evenly over 8"):
        benchmark_sampling.program(["--devices", "8", "--model", "wavenet", "gated-side"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "--batch must be 1 or more, got 0"),
        (["--devices", "3"], "--batch 2 cannot be spread evenly over 3"),
        (["--devices", "5"], "--devices 5: there are 4"),
        (
            ["--model", "gated-unet", "--method", "naive"],
            "gated-unet: measured with --method",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    jax.devices()  # the number of devices is settled
    with pytest.raises(UsageError, match=message):
        benchmark_sampling.program(["smoke", *options])


def test_rows_must_have_a_place_before_they_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_sampling, "rows_of", lambda name, options: [])
    new = tmp_path / "new" / "rows.json"
    benchmark_sampling.program(["smoke", "--out", str(new)])
    assert json.loads(new.read_text())["rows"] == []
    monkeypatch.setattr(benchmark_sampling, "rows_of", None)  # so that measuring fails
    for out in (tmp_path / "new", new / "rows.json"):
        with pytest.raises(UsageError, match=f"^cannot write {out}: [A-Zi]"):
            benchmark_sampling.program(["smoke", "--out", str(out)])
    assert json.loads(new.read_text())["rows"] == []
