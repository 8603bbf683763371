"""The benchmark measures what it says: its arithmetic, and twins that really are twins."""

import importlib.util
import json

import numpy as np
import pytest

from experiments import benchmark_training
from experiments.config import UsageError
from gen_jax.latent import autoencoder

pytestmark = pytest.mark.smoke
TORCH = importlib.util.find_spec("torch") is not None


def test_rows_hold_together(tmp_path):
    out = tmp_path / "rows.json"
    benchmark_training.program(["smoke", "--out", str(out)])
    result = json.loads(out.read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == list(benchmark_training.Options().model)
    assert result["environment"]["matrix_product_gflops"] > 0
    for name, row in rows.items():
        assert row["ours"] == pytest.approx(1e3 * row["batch"] / row["step_ms"])
        if name == "fit" or TORCH:
            assert row["ratio"] == pytest.approx(row["ours"] / row["peer"])
            assert row["peer"] == pytest.approx(1e3 * row["batch"] / row["peer_step_ms"])
        else:
            assert row["peer"] is None
            assert row["ratio"] is None


def test_rows_can_be_chosen_and_need_no_peer():
    result = benchmark_training.program(["smoke", "--model", "dense-vae", "--no-peer"])
    (row,) = result["rows"]
    assert (row["name"], row["peer"]) == ("dense-vae", None)


def test_flops_of_a_dense_network_are_those_of_its_matrices():
    case = benchmark_training.cases(small=True)["dense-autoencoder"]
    products = 2 * case.batch_size * (784 * 8 + 8 * 8 + 8 * 2 + 2 * 8 + 8 * 8 + 8 * 784)
    counted = benchmark_training.forward_flops(case, case.state("float32"))
    assert products <= counted <= 1.15 * products  # and a little for biases


def test_seconds_must_be_positive():
    with pytest.raises(UsageError, match="--seconds must be positive"):
        benchmark_training.program(["smoke", "--seconds", "0"])


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_the_dense_twin_computes_our_loss_from_our_parameters():
    import torch

    from experiments import torch_twins

    case = benchmark_training.cases(small=True)["dense-autoencoder"]
    params = case.state("float32").params
    twin = torch_twins.Twin(case.shape, case.latent_dim, n_outputs=1, head=2, hidden=case.hidden)
    layers = [params["encoder"]["Dense_0"], params["encoder"]["Dense_1"]]
    layers += [params["decoder"][f"Dense_{i}"] for i in range(3)]
    linears = [m for m in [*twin.encoder, *twin.decoder] if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for linear, layer in zip([*linears, twin.head], [*layers, params["code"]], strict=True):
            linear.weight.copy_(torch.tensor(np.asarray(layer["kernel"]).T))
            if linear.bias is not None:
                linear.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
    image = np.random.default_rng(0).integers(0, 256, (3, *case.shape), np.uint8)
    theirs = torch_twins.autoencoder_loss(twin, torch.tensor(image.transpose(0, 3, 1, 2)))
    ours = autoencoder.l2_loss(case.state("float32").model, params, image).mean()
    assert float(theirs.detach()) == pytest.approx(float(ours), rel=1e-5)
