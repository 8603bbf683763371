import importlib.util
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from PIL import Image

from experiments import convert_inception
from experiments.running.options import UsageError
from gen_jax.evaluation import inception, weights
from gen_jax.nn.conv import conv

LAYER = "Mixed_6c.branch7x7_2"


@pytest.fixture(scope="module")
def shapes():
    return inception.state_dict_shapes()


@pytest.fixture
def blank(shapes):
    """A state dict of zeros that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def test_the_network_is_as_large_as_the_published_one(shapes):
    """21,785,568 parameters before the classes, 34,432 of them of batch normalizations."""
    kernels = [shape for name, shape in shapes.items() if name.endswith(".conv.weight")]
    outputs = sum(shape[0] for shape in kernels)
    assert len(kernels) == 94
    assert 2 * outputs == 34_432
    assert sum(int(np.prod(shape)) for shape in kernels) + 2 * outputs == 21_785_568
    assert shapes["fc.weight"] == (1008, 2048)


def test_batch_normalization_is_folded_into_the_convolution():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 1, 3)).astype(np.float32)  # as PyTorch has it: out, in, h, w
    norm = {name: rng.normal(size=4).astype(np.float32) for name in ("weight", "bias")}
    norm |= {"running_mean": rng.normal(size=4), "running_var": rng.uniform(0.001, 1.0, 4)}
    tensors = {"a.conv.weight": kernel} | {f"a.bn.{name}": v for name, v in norm.items()}
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    y = lax.conv_general_dilated(
        jnp.asarray(x.transpose(0, 3, 1, 2)), jnp.asarray(kernel), (1, 1), "SAME"
    ).transpose(0, 2, 3, 1)
    normal = (np.asarray(y) - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-3)
    folded, bias = inception._folded(tensors, "a")
    ours = conv(jnp.asarray(x), jnp.asarray(folded)) + jnp.asarray(bias).reshape(1, 1, 1, 4)
    np.testing.assert_allclose(ours, normal * norm["weight"] + norm["bias"], rtol=1e-4, atol=1e-4)


def test_averages_leave_padding_out():
    ones = inception._average_pool(jnp.ones((1, 3, 4, 2)))
    np.testing.assert_allclose(ones, 1.0, rtol=1e-6)
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    corner = inception._average_pool(x)[0, 0, 0, 0]
    assert float(corner) == pytest.approx((0 + 1 + 3 + 4) / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{LAYER}.bn.bias": None}, f"the file is not of FID's .*: {LAYER}.bn.bias is missing"),
        (
            {"fc.weight": np.zeros((1000, 2048), np.float32)},
            r"fc.weight has shape \[1000, 2048\], not \[1008, 2048\]",
        ),
        ({f"{LAYER}.bn.weight": np.zeros(160, np.int64)}, f"{LAYER}.bn.weight holds int64"),
        (
            {f"{LAYER}.bn.running_var": np.full(160, np.nan, np.float32)},
            f"the file is damaged: {LAYER}.bn.running_var has values that are not finite",
        ),
    ],
)
def test_files_of_other_networks_are_refused(blank, changes, message):
    changed = {name: array for name, array in (blank | changes).items() if array is not None}
    with pytest.raises(weights.WeightsError, match=message):
        inception.from_tensors(changed, where="the file")


def test_what_the_network_does_not_use_is_left_out(blank, shapes):
    extra = {"AuxLogits.fc.weight": np.zeros(3), f"{LAYER}.bn.num_batches_tracked": np.zeros(())}
    assert list(inception.select(blank | extra)) == list(shapes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 28, 28, 1), r"got \[2, 28, 28, 1\]; repeat the channel of gray images three times"),
        ((2, 28, 28, 4), r"expects colour images \[B, H, W, 3\], got \[2, 28, 28, 4\]$"),
        ((28, 28, 3), r"got \[28, 28, 3\]"),
    ],
)
def test_other_images_are_refused(shape, message):
    network = inception.Inception(params={}, name="", digest="")
    for function in (network.features, network.log_probs):
        with pytest.raises(ValueError, match=message):
            function(jnp.zeros(shape, jnp.uint8))


# Against PyTorch


class Code:
    """What unpickling would run."""

    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"fc.weight": Code()}), "is damaged, or not a state dict of numbers only"),
        (b"not a file of PyTorch's", "is damaged, or not a state dict of numbers only"),
        (None, "cannot read .*: No such file"),
    ],
    ids=["code", "noise", "missing"],
)
def test_a_file_that_is_no_state_dict_is_refused_and_runs_nothing(
    tmp_path, capsys, content, message
):
    pytest.importorskip("torch")
    path = tmp_path / "file.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        convert_inception.program([str(path), str(tmp_path / "out.safetensors")])
    assert "this ran" not in capsys.readouterr().out
    assert not list(tmp_path.glob("out*"))


def test_a_state_dict_of_another_network_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "file.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(UsageError, match=r"file.pth is not of FID's Inception-v3: .* is missing"):
        convert_inception.program([str(path), str(tmp_path / "out.safetensors")])


def random_state_dict(shapes):
    """Weights that keep signals alive, and normalizations that do something."""
    rng = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(("conv.weight", "fc.weight")):
            scale = np.sqrt(2.0 / np.prod(shape[1:]))
            return scale * rng.standard_normal(shape, np.float32)
        if name.endswith(("bn.weight", "running_var")):
            return rng.uniform(0.5, 1.5, shape)
        return 0.1 * rng.standard_normal(shape)

    return {name: np.asarray(draw(name, shape), np.float32) for name, shape in shapes.items()}


def published_network(monkeypatch):
    """The module of torch-fidelity's network, without all else that its package imports."""
    spec = importlib.util.find_spec("torch_fidelity")
    if spec is None:
        pytest.skip("torch-fidelity is not installed")
    package = importlib.util.module_from_spec(spec)  # not executed: that would want torchvision
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


@pytest.mark.slow
def test_equality_with_the_pytorch_network(tmp_path, shapes, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    theirs = published_network(monkeypatch)
    state_dict = {n: torch.from_numpy(a) for n, a in random_state_dict(shapes).items()}
    state_dict["fc.bias"] = torch.zeros(1008)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: state_dict)
    # It takes only these names and shapes.
    network = theirs.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])

    torch.save(state_dict, tmp_path / "port.pth")
    out = tmp_path / "inception.safetensors"
    convert_inception.program([str(tmp_path / "port.pth"), str(out)])
    ours = inception.load(out)
    assert ours.digest in capsys.readouterr().out
    with pytest.raises(weights.WeightsError, match=r"is a PyTorch file; .*convert_inception"):
        inception.load(tmp_path / "port.pth")

    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (2, 7, 9, 3), np.uint8).repeat(5, axis=1).repeat(6, axis=2)

    def antialiased(x, size, align_corners):
        channels = x.numpy().reshape(-1, *x.shape[2:])
        resized = [Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in channels]
        return torch.from_numpy(np.stack(resized).clip(0, 255).reshape(*x.shape[:2], *size))

    run = jax.jit(inception.Inception.__call__)
    for resizer in ("tf1-bilinear", "bicubic"):
        if resizer == "bicubic":
            monkeypatch.setattr(theirs, "interpolate_bilinear_2d_like_tensorflow1x", antialiased)
        features, logits = run(ours.replace(resizer=resizer), image)
        with torch.no_grad():
            expected, expected_logits = network(
                torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
            )
        expected, scale = expected.numpy(), float(expected.abs().max())
        assert np.abs(expected[0] - expected[1]).max() > 0.01 * scale  # the images differ there
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * scale)
        expected_logits, scale = expected_logits.numpy(), float(expected_logits.abs().max())
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5 * scale)
