"""Training speed: each model's step beside a PyTorch twin of the same sizes, in one run.

    python -m experiments.benchmark_training --out training.json
    python -m experiments.benchmark_training --model dense-vae fit fit-conv-vae-28

``ours`` and ``peer`` are examples a second: medians of repetitions that alternate, compilation
apart, on data in memory. Our step is compiled with up to 20 steps in a dispatch, as ``fit`` runs
it; the peer is eager PyTorch in float32, where installed (``pip install -e '.[torch]'``), where it
sees the device that JAX uses, and where our step too is in float32; rows without a peer otherwise.
The recurrent networks (Row LSTM, Diagonal BiLSTM) have no twin. A CPU's cores are a device each for
the autoregressive networks, as in their experiments, and one device for the others. Rows ``fit…``
are ``training.fit`` on a model, that of dense layers or the one named, beside its own bare compiled
loop. ``share_of_peak`` is the speed of the step's products and convolutions over that of a matrix
product in the same run and dtype. They count as they are defined, so that minimal filtering, which
needs fewer products, may reach more than 1.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from experiments.benchmarks.arithmetic import product_flops
from experiments.benchmarks.bare import product_speed
from experiments.benchmarks.peers import Twins, why_no_peer
from experiments.benchmarks.steps import Stepping, repeated, twin_run
from experiments.benchmarks.timing import alternate
from experiments.benchmarks.training_cases import TWINLESS, AutoregressiveCase, Case, cases
from experiments.running.fitting import usable_devices
from experiments.running.options import parse, require_at_least, require_positive
from experiments.running.output import prepare_output, write_json
from experiments.running.terminal import main, say
from gen_jax import data, training

Model = Literal[
    "dense-vae",
    "conv-vae-28",
    "conv-vae-64",
    "dense-autoencoder",
    "conv-autoencoder-28",
    "conv-autoencoder-64",
    "gated",
    "gated-7x32",
    "masked",
    "plus-plus",
    "wavenet",
    "row-lstm",
    "diagonal-bilstm",
    "gated-unet",
    "plus-plus-unet",
    "dcgan-28",
    "dcgan-64",
    "wgan-gp-28",
    "pix2pix-64",
    "pix2pix-256",
    "cyclegan-128",
    "text-to-image",
    "text-encoder",
    "fit",
    "fit-conv-vae-28",
    "fit-conv-vae-64",
    "fit-masked",
    "fit-gated-7x32",
]
FITTED = {
    name: name.removeprefix("fit-") if name != "fit" else "dense-vae"
    for name in get_args(Model)
    if name.startswith("fit")
}
"""The model of each row that measures ``training.fit``."""
CALL_S, MOST_DISPATCHES = 1.0, 25  # of a call of ``fit``
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, and for how long."""

    model: tuple[Model, ...] = get_args(Model)
    seconds: float = 20.0
    """Of alternating repetitions, a row."""
    steps_per_dispatch: int | None = None
    """Default the model's own: 20, or down to 1 where a step takes a second on two cores."""
    small: bool = False
    """Tiny networks: to see that everything runs."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    peer: bool = True
    """Measure PyTorch too, where it is installed and a peer."""
    out: Path | None = None
    """Write the rows as JSON."""

    def __post_init__(self):
        require_positive(self, "seconds")
        require_at_least(1, self, "steps_per_dispatch")


PRESETS = {"smoke": Options(seconds=0.2, steps_per_dispatch=2, small=True), "default": Options()}


def measure(name: str, case: Case, options: Options, peak: float) -> Row:
    """One row: our step, and beside it the twin's."""
    k = options.steps_per_dispatch or case.steps_per_dispatch
    ours = Stepping.of(case, options.dtype, compiled(case, k))
    k = ours.steps
    runs = [ours.run]
    if options.peer and name not in TWINLESS:
        runs.append(twin_run(name, case, ours.batches, Twins.here()))
    ours_s, *peer_s = alternate(runs, options.seconds)
    row = {
        "name": name,
        "batch": case.batch_size,
        "shape": list(case.shape),
        "n_params": ours.n_params,
        "ours": ours.n_examples / ours_s,
        "peer": ours.n_examples / peer_s[0] if peer_s else None,
        "ratio": None,
        "compile_s": ours.first_s - ours_s,
        "step_ms": 1e3 * ours_s / k,
        "peer_step_ms": 1e3 * peer_s[0] / k if peer_s else None,
    }
    flops = product_flops(case.train_step, ours.state, ours.batches.batch_at(0))
    row |= {"gflops_a_step": flops / 1e9, "share_of_peak": flops * k / ours_s / peak}
    if peer_s:
        row["ratio"] = row["ours"] / row["peer"]
    return row


def compiled(case: Case, steps_per_dispatch: int) -> training.CompiledStep:
    """The case's step, on devices and spread over them as in its experiment."""
    devices, how, cores = jax.devices(), "jit", 1
    if isinstance(case, AutoregressiveCase):
        how, cores = case.how, training.cores_for(case.batch_size)
    if jax.default_backend() == "cpu":
        devices = devices[:cores]
    mesh = training.make_mesh(usable_devices(case.batch_size, devices))
    return training.compile_step(
        case.train_step, mesh, steps_per_dispatch=steps_per_dispatch, how=how
    )


def measure_fit(name: str, case: Case, options: Options) -> Row:
    """``training.fit``, data and metrics included, beside the compiled loop alone."""
    k = options.steps_per_dispatch or case.steps_per_dispatch
    noise = np.random.default_rng(0).integers(0, 256, (2000, *case.shape), np.uint8)
    dataset = data.ArrayDataset("noise", "train", noise)
    batches = data.Batches(dataset, case.batch_size, seed=0)
    state = case.state(options.dtype)
    step = compiled(case, k)
    stack = step.gather(batches, 0, k)
    k = step.length(stack)
    bare_once = repeated(step, state, stack)
    (once_s,) = alternate([bare_once], 0.0)
    dispatches = 2 if options.small else min(max(2, round(CALL_S / once_s)), MOST_DISPATCHES)

    def bare() -> None:
        for _ in range(dispatches):
            bare_once()

    def fitted() -> None:
        training.fit(state, step, batches, steps=k * dispatches, quiet=True)

    ours_s, peer_s = alternate([fitted, bare], options.seconds)
    n_images = k * dispatches * case.batch_size
    return {
        "name": name,
        "batch": case.batch_size,
        "shape": list(case.shape),
        "ours": n_images / ours_s,
        "peer": n_images / peer_s,
        "ratio": peer_s / ours_s,
        "step_ms": 1e3 * ours_s / (k * dispatches),
        "peer_step_ms": 1e3 * peer_s / (k * dispatches),
    }


def program(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints a table, and returns what ``--out`` writes."""
    prog = "python -m experiments.benchmark_training"
    options = parse(PRESETS, argv, prog=prog, description=__doc__).config
    prepare_output(options.out)
    known = cases(options.small)
    training.split_cpu(max(case.batch_size for case in known.values()))
    training.check_platform()
    side = 256 if options.small else 2048
    peak, _ = product_speed(min(options.seconds, 3.0), options.dtype, side)
    environment = training.environment()
    environment["matrix_product_gflops"] = peak / 1e9
    environment["dtype"] = options.dtype
    reason = why_no_peer(options.dtype) if options.peer else None
    if reason is not None:
        say(f"PyTorch is not measured: {reason}.")
        options = dataclasses.replace(options, peer=False)
    if options.peer:
        import torch  # pyright: ignore[reportMissingImports]

        environment["torch"] = torch.__version__
        environment["torch_threads"] = torch.get_num_threads()
    say(f"{environment['device']}, a matrix product reaches {peak / 1e9:.0f} GFLOP/s")
    head = "ours", "peer", "ratio", "step", "compile", "of peak"
    say("{:20} {:>10} {:>10} {:>6} {:>9} {:>8} {:>8}".format("examples/s", *head))
    rows: list[Row] = []
    result = {"environment": environment, "rows": rows}
    for name in options.model:
        if name in FITTED:
            row = measure_fit(name, known[FITTED[name]], options)
        else:
            row = measure(name, known[name], options, peak)
        rows.append(row)
        say(table_line(row))
        if options.out is not None:
            write_json(options.out, result)
    return result


def table_line(row: Row) -> str:
    """A row for the terminal: examples a second, milliseconds, seconds."""

    def rate(examples: float) -> str:
        return f"{examples:,.0f}" if examples >= 100 else f"{examples:.3g}"

    peer = "–" if row["peer"] is None else rate(row["peer"])
    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
    compile_s = f"{row['compile_s']:.1f} s" if "compile_s" in row else "–"
    share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "–"
    step = f"{row['step_ms']:.2f} ms"
    name, ours = row["name"], rate(row["ours"])
    return f"{name:20} {ours:>10} {peer:>10} {ratio:>6} {step:>9} {compile_s:>8} {share:>8}"


if __name__ == "__main__":
    main(program)
