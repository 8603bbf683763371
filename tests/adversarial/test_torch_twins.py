"""The PyTorch peers of the benchmarks are twins: our outputs from our parameters."""

import functools
import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.adversarial.networks import ConvDiscriminator, ConvGenerator, map_sizes

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch
from torch import nn

from experiments.benchmarks import torch_adversarial as twins

SHAPES = [(14, 14, 1), (16, 16, 3)]


def drawn(model, x):
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), x)
    return jax.tree.map(lambda p: jnp.asarray(random.uniform(0.1, 1.0, p.shape), p.dtype), shapes)


def copy(twin, variables, smallest):
    """Gives the twin our parameters and running statistics; ``smallest`` is its smallest map."""
    params, stats = variables["params"], variables.get("batch_stats", {})

    def set_all(module, ours, order, flip=()):
        kernel = np.flip(np.asarray(ours["kernel"]), flip).transpose(order)
        module.weight.copy_(torch.tensor(kernel.copy()))
        if module.bias is not None:
            module.bias.copy_(torch.tensor(np.asarray(ours["bias"])))

    with torch.no_grad():
        for name, module in twin.named_modules():
            ours = name.replace("ups.", "up_").replace("norms.", "norm_")
            ours = re.sub(r"convs\.(\d+)\.1", r"conv_\1", ours)  # after its padding
            if isinstance(module, nn.ConvTranspose2d):
                index = int(ours.removeprefix("up_")) + 1 if ours != "image" else None
                layer = params["image"] if index is None else params[f"up_{index}"]
                set_all(module, layer, (2, 3, 0, 1), flip=(0, 1))
            elif isinstance(module, nn.Conv2d):
                set_all(module, params[ours], (3, 2, 0, 1))
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                module.weight.copy_(torch.tensor(np.asarray(params[ours]["scale"])))
                module.bias.copy_(torch.tensor(np.asarray(params[ours]["bias"])))
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.copy_(torch.tensor(np.asarray(stats[ours]["mean"])))
                    module.running_var.copy_(torch.tensor(np.asarray(stats[ours]["var"])))
            elif isinstance(module, nn.Linear):
                height, width, maps = smallest
                if ours == "dense":
                    kernel = np.asarray(params["dense"]["kernel"]).reshape(-1, height, width, maps)
                    kernel = kernel.transpose(3, 1, 2, 0).reshape(-1, kernel.shape[0])
                    bias = params["dense"].get("bias")
                    if bias is not None:
                        bias = np.asarray(bias).reshape(smallest).transpose(2, 0, 1).ravel()
                else:
                    layer = params["logit"]["dense"]
                    kernel = np.asarray(layer["kernel"]).reshape(smallest).transpose(2, 0, 1)
                    kernel, bias = kernel.reshape(1, -1), np.asarray(layer["bias"])
                module.weight.copy_(torch.tensor(kernel))
                if bias is not None:
                    module.bias.copy_(torch.tensor(bias))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_twins_compute_our_outputs_from_our_parameters(shape, norm):
    sizes = map_sizes(shape[:2])
    generator = ConvGenerator(3, image_shape=shape, latent_dim=5, norm=norm)
    discriminator = ConvDiscriminator(3, norm=norm)
    z = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    x = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    smallest = (*sizes[0], 3 * 2 ** (len(sizes) - 2))
    for model, twin, inputs in (
        (generator, twins.Generator(generator), z),
        (discriminator, twins.Discriminator(discriminator, shape), x),
    ):
        variables = drawn(model, inputs)
        variables = jax.tree_util.tree_map_with_path(
            lambda path, p: p - 0.55 if path[-1].key == "kernel" else p, variables
        )
        assert sum(p.numel() for p in twin.parameters()) == count(variables["params"])
        copy(twin, variables, smallest)
        channels_first = torch.from_numpy(np.moveaxis(inputs, -1, 1).copy())
        for train in (True, False):
            mutable = ["batch_stats"] if train else []
            ours, _ = jax.jit(functools.partial(model.apply, train=train, mutable=mutable))(
                variables, inputs
            )
            with torch.no_grad():
                theirs = twin.train(train)(channels_first).numpy()
            if theirs.ndim == 4:
                theirs = np.moveaxis(theirs, 1, -1)
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
            copy(twin, variables, smallest)
