"""Whether PyTorch on this machine is a peer of what the benchmarks measure, and how it is run."""

import dataclasses
from importlib.util import find_spec
from typing import Any, Self

import jax


def why_no_peer(dtype: str) -> str | None:
    """Why a PyTorch twin is no peer of what JAX runs here in ``dtype``; None where it is one."""
    if not find_spec("torch"):
        return "PyTorch is not installed"
    try:
        _torch()
    except (ImportError, OSError) as error:  # of another CUDA, say
        return f"it cannot be imported ({str(error).splitlines()[0]})"
    backend = jax.default_backend()
    if backend not in ("cpu", "gpu"):
        return f"its twins run on the CPU or a GPU, JAX on the {backend.upper()}"
    if backend == "gpu" and not sees_gpu():
        return "it sees no GPU, but JAX uses one"
    if dtype != "float32":
        return f"its twins compute in float32, not in {dtype}"
    return None


def count_parameters(params: Any) -> int:
    """The number of our network's parameters, which is its twin's too."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def sees_gpu() -> bool:
    """Whether the PyTorch that is installed can use a GPU."""
    return _torch().cuda.is_available()


def _torch() -> Any:
    import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere

    return torch


@dataclasses.dataclass(frozen=True)
class Twins:
    """How PyTorch twins run: on which device, eager or compiled by ``torch.compile``."""

    device: str = "cpu"
    compiled: bool = False

    @classmethod
    def here(cls, *, compiled: bool = False) -> Self:
        """On the device that JAX uses, with the ways to compute that are JAX's default there."""
        if jax.default_backend() != "gpu":
            return cls(compiled=compiled)
        torch = _torch()
        torch.set_float32_matmul_precision("high")  # TF32: JAX's default, but not PyTorch's
        torch.backends.cudnn.benchmark = True  # tries ways of a convolution, as XLA does
        return cls("cuda", compiled)

    def place(self, network: Any) -> Any:
        """The network on the device."""
        return network.to(self.device)

    def compile(self, function: Any) -> Any:
        """The network or function of networks, compiled where that is asked for."""
        return _torch().compile(function) if self.compiled else function
