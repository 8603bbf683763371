"""Our parameters as PyTorch lays them out, to give them to twins of our networks."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn


def our_name(name: str) -> str:
    """Our name of a twin's layer, where the twin keeps its layers by it.

    Of a layer of a part it is the part's name and the layer's, with a point between.
    """
    return re.sub(r"\blayers\.", "", name)


def torch_layout(
    twin: nn.Module, variables: Any, name_of: Callable[[str], str] = our_name
) -> dict[str, torch.Tensor]:
    """Our variables under the names of the twin's ``state_dict``.

    Any tree like our variables can be given, their gradients say; ``name_of`` is our name of a
    layer of the twin.
    """
    params, stats = variables["params"], variables.get("batch_stats", {})
    arrays = {}
    for name, module in twin.named_modules():
        if not isinstance(module, LAYERS):
            continue
        ours = name_of(name)
        for part, array in (*layer(params, ours).items(), *layer(stats, ours).items()):
            array = kernel_of(module, array) if part == "kernel" else array
            arrays[f"{name}.{PARTS[part]}"] = array
    return {name: torch.tensor(np.array(array)) for name, array in arrays.items()}


def layer(tree: Any, name: str) -> Any:
    """What a tree has for a layer: nothing where it is not there."""
    for part in name.split("."):
        tree = tree.get(part, {})
    return tree


LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.InstanceNorm2d,
    nn.GroupNorm,
)
PARTS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def kernel_of(module: nn.Module, kernel: Any) -> np.ndarray:
    """A kernel [*space, c_in, c_out] as the module has it."""
    kernel = np.asarray(kernel)
    if isinstance(module, nn.Linear):  # ours may be a convolution of one place
        kernel = kernel.reshape(kernel.shape[-2:])
    space = range(kernel.ndim - 2)
    if isinstance(module, nn.ConvTranspose2d):  # turned round, and to c_out from c_in
        return np.flip(kernel, space).transpose(-2, -1, *space)
    return kernel.transpose(-1, -2, *space)


def give(twin: nn.Module, variables: Any, name_of: Callable[[str], str] = our_name) -> None:
    """Gives the twin our parameters and running statistics: all that it has."""
    missing, unknown = twin.load_state_dict(torch_layout(twin, variables, name_of), strict=False)
    assert not unknown
    assert all(re.search("num_batches_tracked$", name) for name in missing), missing
