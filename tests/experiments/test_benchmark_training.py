"""The benchmark measures what it says: its arithmetic, and twins that really are twins."""

import importlib.util
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import benchmark_training
from experiments.benchmarks import bare, peers, training_cases
from experiments.benchmarks.training_cases import AutoregressiveCase
from experiments.running.options import UsageError
from gen_jax.autoregressive import PixelCNNPlusPlus, UNetEncoder
from gen_jax.densities import LogisticMixture
from gen_jax.latent import autoencoder
from gen_jax.nn.condition import batch_condition

pytestmark = pytest.mark.smoke
TORCH = importlib.util.find_spec("torch") is not None
FULL, TINY = (
    {name: case for name, case in cases.items() if name not in training_cases.TWINLESS}
    for cases in (training_cases.autoregressive_cases(small) for small in (False, True))
)
TWO_STAGES = PixelCNNPlusPlus(
    LogisticMixture(), blocks=1, stages=2, features=4, condition=UNetEncoder(3, depth=1)
)
TINY["plus-plus-unet"] = AutoregressiveCase(TWO_STAGES, (6, 7, 3), batch_size=2)


def test_rows_hold_together(tmp_path):
    out = tmp_path / "rows.json"
    names = ["dense-vae", "row-lstm", "dcgan-28", "fit", "fit-masked"]
    benchmark_training.program(["smoke", "--model", *names, "--out", str(out)])
    result = json.loads(out.read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == names
    assert result["environment"]["matrix_product_gflops"] > 0
    for name, row in rows.items():
        assert row["ours"] == pytest.approx(1e3 * row["batch"] / row["step_ms"])
        if name in benchmark_training.FITTED or (TORCH and name not in training_cases.TWINLESS):
            assert row["ratio"] == pytest.approx(row["ours"] / row["peer"])
            assert row["peer"] == pytest.approx(1e3 * row["batch"] / row["peer_step_ms"])
        else:
            assert row["peer"] is None
            assert row["ratio"] is None


def test_every_model_has_a_step_of_its_own():
    known = training_cases.cases(small=True)
    fitted = benchmark_training.FITTED
    assert [*known, *fitted] == list(benchmark_training.Options().model)
    assert set(fitted.values()) <= set(known)
    for name, case in known.items():
        state = jax.eval_shape(lambda case=case: case.state("float32"))
        batch = case.batches(1).batch_at(0)
        after, metrics = jax.eval_shape(case.train_step, state, batch)
        assert jax.tree.structure(after) == jax.tree.structure(state), name
        assert all(metric.shape == () for metric in metrics.values()), name


def test_rows_can_be_chosen_and_need_no_peer():
    result = benchmark_training.program(["smoke", "--model", "dense-vae", "--no-peer"])
    (row,) = result["rows"]
    assert (row["name"], row["peer"]) == ("dense-vae", None)


def test_a_peer_is_on_the_same_processor_in_the_same_dtype(capsys, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: name)  # PyTorch is there
    monkeypatch.setattr(peers, "_torch", lambda: None)
    assert peers.why_no_peer("float32") is None
    arguments = ["smoke", "--model", "dense-autoencoder", "--dtype", "bfloat16"]
    (row,) = benchmark_training.program(arguments)["rows"]
    assert row["peer"] is None
    reason = "PyTorch is not measured: its twins compute in float32, not in bfloat16."
    assert reason in capsys.readouterr().out
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(peers, "sees_gpu", lambda: False)
    assert peers.why_no_peer("float32") == "it sees no GPU, but JAX uses one"
    monkeypatch.setattr(peers, "sees_gpu", lambda: True)
    assert peers.why_no_peer("float32") is None
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert peers.why_no_peer("float32") == "its twins run on the CPU or a GPU, JAX on the TPU"


def test_a_pytorch_that_is_not_there_or_broken_is_no_peer(monkeypatch):
    def broken():
        raise OSError("libcudart.so.1: not found\nand more")

    monkeypatch.setattr(peers, "_torch", broken)
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    reason = "it cannot be imported (libcudart.so.1: not found)"
    assert peers.why_no_peer("float32") == reason
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.why_no_peer("float32") == "PyTorch is not installed"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_peak_is_that_of_the_steps_dtype(monkeypatch, dtype):
    products = []

    def alternate(runs, seconds):
        products.extend(run() for run in runs)
        return [seconds]

    monkeypatch.setattr(bare, "alternate", alternate)
    speed, _ = bare.product_speed(2.0, dtype, side=8, chain=3)
    assert speed == 3 * 2.0 * 8**3 / 2.0
    assert [product.dtype for product in products] == [jnp.dtype(dtype)]


def test_the_error_of_a_product_says_how_precise_it_is():
    exact, rounded = (bare.product_error(dtype, side=64) for dtype in ("float32", "bfloat16"))
    assert exact < 1e-6
    assert 1e-4 < rounded < 1e-2


def test_rows_must_have_a_place_before_they_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_training, "product_speed", None)  # so that it fails
    with pytest.raises(
        UsageError, match=re.escape(f"cannot write {tmp_path}: it is a folder, and the name")
    ):
        benchmark_training.program(["smoke", "--out", str(tmp_path)])


def test_seconds_must_be_positive():
    with pytest.raises(UsageError, match=r"--seconds must be positive, got 0\.0"):
        benchmark_training.program(["smoke", "--seconds", "0"])


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_the_dense_twin_computes_our_loss_from_our_parameters():
    import torch

    from experiments.benchmarks import torch_latent

    case = training_cases.cases(small=True)["dense-autoencoder"]
    params = case.state("float32").params
    twin = torch_latent.Twin(case.shape, case.latent_dim, n_outputs=1, head=2, hidden=case.hidden)
    layers = [params["encoder"]["Dense_0"], params["encoder"]["Dense_1"]]
    layers += [params["decoder"][f"Dense_{i}"] for i in range(3)]
    linears = [m for m in [*twin.encoder, *twin.decoder] if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for linear, layer in zip([*linears, twin.head], [*layers, params["code"]], strict=True):
            linear.weight.copy_(torch.tensor(np.asarray(layer["kernel"]).T))
            if linear.bias is not None:
                linear.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
    image = np.random.default_rng(0).integers(0, 256, (3, *case.shape), np.uint8)
    theirs = torch_latent.autoencoder_loss(twin, torch.tensor(image.transpose(0, 3, 1, 2)))
    ours = autoencoder.l2_loss(case.state("float32").model, params, image).mean()
    assert float(theirs.detach()) == pytest.approx(float(ours), rel=1e-5)


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", FULL)
def test_twins_have_as_many_parameters(name):
    params = jax.eval_shape(lambda: FULL[name].state("float32")).params
    twin, _ = FULL[name].twin()
    ours = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sum(p.numel() for p in twin.parameters()) == ours


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", TINY)
def test_twins_compute_our_outputs_and_losses_from_our_parameters(name):
    import torch

    case = TINY[name]
    model, params = case.model, drawn(case)
    twin, loss = case.twin()
    copy_parameters(twin.eval(), params)

    batch = case.batches(1).batch_at(0)
    data, *sources = (batch[key] for key in case.keys)
    value, cond = model.likelihood.quantize(data), batch_condition(batch, labels=False)
    x, stored = model.likelihood.as_input(value), model.likelihood.to_data(value)
    sources = [channels_first(source) for source in sources]

    @jax.jit
    def ours(params):
        outputs = model.apply({"params": params}, x, cond)
        return outputs[..., 0, :], -model.likelihood.unit_log_prob(outputs, value[..., None, :])

    outputs, nll = ours(params)
    with torch.no_grad():
        theirs = twin(channels_first(x), *sources).numpy()
        their_loss = float(loss(twin, channels_first(stored), *sources))
    np.testing.assert_allclose(np.moveaxis(theirs, 1, -1), outputs, rtol=1e-4, atol=1e-4)
    assert their_loss == pytest.approx(float(nll.sum()) / case.batch_size, rel=1e-4)


def drawn(case: AutoregressiveCase) -> Any:
    """Parameters none of which is zero, biases neither."""
    shapes = jax.eval_shape(lambda: case.state("float32")).params
    random = np.random.default_rng(0)
    return jax.tree.map(lambda p: jnp.asarray(0.3 * random.normal(size=p.shape), p.dtype), shapes)


def channels_first(x: Any) -> Any:
    import torch

    return torch.from_numpy(np.moveaxis(np.array(x), -1, 1).copy())


def copy_parameters(twin: Any, params: Any) -> None:
    """Gives the twin's layers our kernels, scales and biases."""
    import torch
    from torch.nn import Conv1d, Conv2d, ConvTranspose2d, LayerNorm, Linear

    layers = layers_by_name(params)
    with torch.no_grad():
        for name, module in twin.named_modules():
            if not isinstance(module, (Conv1d, Conv2d, ConvTranspose2d, LayerNorm, Linear)):
                continue
            layer = {
                part: torch.tensor(np.asarray(p)) for part, p in layers.pop(our_name(name)).items()
            }
            if "bias" in layer:
                module.bias.copy_(layer["bias"])
            if isinstance(module, LayerNorm):
                module.weight.copy_(layer["scale"])
                continue
            kernel = layer["kernel"]
            order = (-1, -2, *range(kernel.ndim - 2))
            if isinstance(module, ConvTranspose2d):  # turned round, and to c_out from c_in
                kernel, order = kernel.flip(0, 1), (-2, -1, 0, 1)
            kernel = kernel.permute(*(i % kernel.ndim for i in order))
            if "scale" not in layer:
                module.weight.copy_(kernel.reshape(module.weight.shape))
                continue
            scale, direction = module.parametrizations.weight.parameters()
            scale.copy_(layer["scale"].reshape(scale.shape))
            direction.copy_(kernel)
    assert not layers


def layers_by_name(params: Any, prefix: str = "") -> dict[str, Any]:
    """Our layers; those of a block have its name before theirs."""
    if not any(isinstance(part, dict) for part in params.values()):
        return {prefix: params}
    parts = [
        layers_by_name(part, f"{prefix}_{name}" if prefix else name)
        for name, part in params.items()
    ]
    return {name: layer for part in parts for name, layer in part.items()}


def our_name(name: str) -> str:
    """Our name of a twin's layer."""
    if name.startswith("encoder."):
        return name.replace("encoder.layers", "condition").replace(".", "_")
    return re.sub(r"^layers\.|\.conv$", "", name).replace(".", "_")
