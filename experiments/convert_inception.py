"""FID's Inception-v3, from the state dict of its PyTorch port to a safetensors file.

python -m experiments.convert_inception pt_inception-2015-12-05-6726825d.pth inception.safetensors

The state dict is read with ``weights_only=True``: it can hold numbers only, and runs no code. Needs
PyTorch.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import tyro

from experiments.running.options import UsageError, help_text
from experiments.running.output import prepare_output
from experiments.running.terminal import main, say
from gen_jax.evaluation import inception, weights


@dataclasses.dataclass(frozen=True)
class Options:
    """From where to where."""

    source: tyro.conf.Positional[pathlib.Path]
    """The state dict, as torch.save wrote it."""
    out: tyro.conf.Positional[pathlib.Path]
    """The safetensors file to write."""


def program(argv: Sequence[str] | None = None) -> None:
    """Reads, checks, and writes what the network uses."""
    options = tyro.cli(
        Options,
        args=argv,
        prog="python -m experiments.convert_inception",
        description=help_text(__doc__),
    )
    prepare_output(options.out)
    try:
        used = inception.select(read_state_dict(options.source), where=str(options.source))
        weights.write(options.out, used)
    except weights.WeightsError as error:
        raise UsageError(str(error)) from None
    say(f"{options.out}: {len(used)} arrays, SHA-256 {weights.digest(used)}")


def read_state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file, by name; what else it holds is left out.

    Raises ``UsageError`` where PyTorch or the file is missing, or holds more than numbers.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]  # an extra: not installed everywhere
    except ImportError:
        raise UsageError("PyTorch files are read by PyTorch: pip install torch") from None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # damaged bytes end in several types
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{path} is damaged, or not a state dict of numbers only: {reason}"
        ) from None
    if not isinstance(saved, dict):
        raise UsageError(f"{path} holds a {type(saved).__name__}, not a state dict")
    tensors = {str(name): value for name, value in saved.items() if torch.is_tensor(value)}
    return {name: value.detach().numpy() for name, value in tensors.items()}


if __name__ == "__main__":
    main(program)
