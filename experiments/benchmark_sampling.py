"""Sampling speed: every network and sampler, beside one forward pass of the same batch.

    python -m experiments.benchmark_sampling --out sampling.json
    python -m experiments.benchmark_sampling --model gated-12x64 --batch 1 16 128 --method cached
    python -m experiments.benchmark_sampling --method cached --devices 2

Seconds are medians of repetitions that alternate with the forward pass's, without compilation. For
a batch of 1 they are the wait for one image, or for one second of sound (8,000 samples).
``ratio_to_forward`` sets one batch's time against one pass of the network over it: the floor of
any sampler that computes each layer once. Whole naive sampling would take minutes: it is measured
on a few positions and scaled (``naive_positions`` says on how many). ``agree`` is the share of
images that are those of another sampler, named in ``agrees_with``. ``peak_bytes`` is what XLA
plans to hold besides parameters and outputs. With PyTorch installed, on the device that JAX uses
and with JAX in float32, a plain PyTorch Gated PixelCNN of the same size, sampled naively,
stands beside ``gated-7x32``.

``gated-residual`` and ``gated-unet`` read another image by an encoder, which runs once a batch:
``ratio_to_unconditional`` sets their time against the same network's without it. Row
``gated-trained`` is a small Gated PixelCNN trained for ``--train-steps`` steps first, because the
number of Jacobi passes depends on what was learned. ``gated-side`` rows, drawn as a plot beside
``--out``, show the time against the number of positions.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.peers import Twins, count_parameters, why_no_peer
from experiments.benchmarks.samplers import (
    NAIVE_POSITIONS,
    forward_program,
    naive_stop,
    sampling_programs,
    trained,
)
from experiments.benchmarks.sampling_cases import (
    CACHED_ALONE,
    Case,
    Model,
    Options,
    make_case,
)
from experiments.benchmarks.timing import alternate
from experiments.running.options import UsageError, parse
from experiments.running.output import prepare_output, write_json
from experiments.running.terminal import main, say
from gen_jax import reporting, training
from gen_jax.files import write_atomically

Row = dict[str, Any]
SIDES = (16, 28, 32, 64, 128)

PRESETS = {
    "smoke": Options(seconds=0.1, train_steps=2, small=True, size=6, batch=(2,)),
    "default": Options(),
}


def measure(name: str, case: Case, batch: int, params: Any, options: Options) -> list[Row]:
    """A row for each method."""
    forward = forward_program(case, batch, params)
    n_units, stop = case.units, naive_stop(case)
    programs = sampling_programs(case, batch, params, options)
    plain, bare = case.unconditional, {}
    if plain is not None:  # it does not read the parameters of what it lacks
        bare = sampling_programs(plain, batch, params, options)
    rows, drawn = [], {}
    for method, program in programs.items():
        result = program.run()
        whole = method != "naive" or stop == n_units
        drawn[method] = np.asarray(result.data) if whole else None
        runs = [program.run, forward.run, *([bare[method].run] if bare else [])]
        seconds, forward_s, *bare_s = alternate(runs, options.seconds)
        unconditional = seconds / bare_s[0] if bare_s else None
        if method == "naive":
            seconds *= n_units / stop
        rows.append(
            {
                "model": name,
                "method": method,
                "batch": batch,
                "shape": list(case.shape),
                "devices": options.devices,
                "n_params": count_parameters(params),
                "compile_s": program.compile_s,
                "seconds": seconds,
                "images_per_s": batch / seconds,
                "forward_s": forward_s,
                "ratio_to_forward": seconds / forward_s,
                "ratio_to_unconditional": unconditional,
                "speedup_over_naive": None,
                "passes": int(result.passes),
                "peak_bytes": program.peak_bytes,
                "naive_positions": stop if method == "naive" else None,
                "agree": None,
                "agrees_with": None,
            }
        )
    compare(rows, drawn)
    return rows


def compare(rows: list[Row], drawn: dict[str, np.ndarray | None]) -> None:
    """Fills in what needs the other methods' rows: speed-ups, and whether the images agree."""
    naive = next((row["seconds"] for row in rows if row["method"] == "naive"), None)
    for row in rows:
        if naive is not None:
            row["speedup_over_naive"] = naive / row["seconds"]
        mine = drawn[row["method"]]
        for other in ("naive", "jacobi", "cached"):
            theirs = drawn.get(other)
            if other != row["method"] and mine is not None and theirs is not None:
                same = (mine == theirs).reshape(len(mine), -1).all(-1)
                row["agree"], row["agrees_with"] = float(same.mean()), other
                break


def peer_row(case: Case, batch: int, params: Any, options: Options) -> Row | None:
    """A plain PyTorch Gated PixelCNN of the same size, sampled naively; None, with a line why,
    where there is no such peer."""
    if not options.peer:
        return None
    reason, channels = why_no_peer(options.dtype), case.shape[-1]
    if reason is None and case.model.likelihood.units(channels) != 1:
        reason = f"its twin draws one unit a pixel, not {channels}"
    if reason is not None:
        say(f"PyTorch is not measured: {reason}.")
        return None
    from experiments.benchmarks import torch_pixels as twins

    twin = Twins.here().place(twins.GatedPixelCNN(case.model, channels))
    n_params = sum(p.numel() for p in twin.parameters())
    n_ours = count_parameters(params)
    if n_params != n_ours:
        say(f"PyTorch is not measured: its twin has {n_params} parameters, ours {n_ours}.")
        return None
    n_pixels = int(np.prod(case.shape[:-1]))
    stop = min(NAIVE_POSITIONS, n_pixels)
    run = functools.partial(twins.sample, twin, batch, case.shape[:-1], stop)
    forward = functools.partial(twins.forward, twin, batch, case.shape[:-1])
    seconds, forward_s = alternate([run, forward], options.seconds)
    seconds *= n_pixels / stop
    return {
        "model": "gated-7x32",
        "method": "naive (PyTorch)",
        "batch": batch,
        "shape": list(case.shape),
        "devices": 1,
        "n_params": n_params,
        "compile_s": 0.0,
        "seconds": seconds,
        "images_per_s": batch / seconds,
        "forward_s": forward_s,
        "ratio_to_forward": seconds / forward_s,
        "ratio_to_unconditional": None,
        "speedup_over_naive": 1.0,
        "passes": n_pixels,
        "peak_bytes": None,
        "naive_positions": stop,
        "agree": None,
        "agrees_with": None,
    }


def rows_of(name: Model, options: Options) -> list[Row]:
    """All rows of one model."""
    if name in CACHED_ALONE:
        options = dataclasses.replace(options, method=("cached",))
    if name == "gated-side":
        sides = (4, 6) if options.small else SIDES
        rows = []
        for side in sides:
            case = make_case(name, dataclasses.replace(options, size=side))
            rows += measure(name, case, case.batches[0], case.start().params, options)
        return rows
    case = make_case(name, options)
    params = trained(case, options.train_steps) if name == "gated-trained" else case.start().params
    rows = []
    for batch in case.batches:
        rows += measure(name, case, batch, params, options)
        peer = peer_row(case, batch, params, options) if name == "gated-7x32" else None
        if peer is not None:
            rows.append(peer)
    return rows


def write(result: dict[str, Any], out: Path) -> None:
    """Writes the rows, and beside them the plot of time against the number of positions."""
    write_json(out, result)
    by_size = [row for row in result["rows"] if row["model"] == "gated-side"]
    if not by_size:
        return
    positions = [int(np.prod(row["shape"][:-1])) for row in by_size]
    series = {
        "cached": (positions, [row["seconds"] for row in by_size]),
        "one forward pass": (positions, [row["forward_s"] for row in by_size]),
    }
    figure = reporting.plots.curves(
        series, x_label="positions", y_label="seconds", log_x=True, log_y=True
    )
    write_atomically(out.with_suffix(".png"), reporting.plots.to_png(figure))


def require_devices(options: Options) -> None:
    """Makes a CPU's cores into as many devices as are asked for, where JAX has not begun.

    Raises ``UsageError`` where there are fewer, or a batch cannot be spread over them.
    """
    if options.devices > 1:
        training.set_cpu_devices(options.devices)
    training.check_platform()
    if len(jax.devices()) < options.devices:
        raise UsageError(f"--devices {options.devices}: there are {len(jax.devices())}")
    for name in options.models:
        for batch in make_case(name, options).batches:
            if batch % options.devices:
                raise UsageError(
                    f"{name}: --batch {batch} cannot be spread evenly over {options.devices} "
                    f"devices: choose a multiple of {options.devices}"
                )


HEAD = (
    *("model", "method", "batch", "seconds", "forward", "ratio", "x uncond."),
    *("x naive", "passes", "agree"),
)
LINE = "{:16} {:16} {:>5} {:>9} {:>9} {:>7} {:>9} {:>8} {:>7} {:>6}"


def table_line(row: Row) -> str:
    """A row for the terminal."""
    speedup, agree = row["speedup_over_naive"], row["agree"]
    unconditional = row["ratio_to_unconditional"]
    return LINE.format(
        row["model"],
        row["method"],
        row["batch"],
        f"{row['seconds']:.3g}",
        f"{row['forward_s']:.3g}",
        f"{row['ratio_to_forward']:.2f}",
        "–" if unconditional is None else f"{unconditional:.2f}",
        "–" if speedup is None else f"{speedup:.0f}",
        row["passes"],
        "–" if agree is None else f"{agree:.1%}",
    )


def program(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints a table, and returns what ``--out`` writes."""
    prog = "python -m experiments.benchmark_sampling"
    options = parse(PRESETS, argv, prog=prog, description=__doc__).config
    require_devices(options)
    prepare_output(options.out)
    environment = training.environment() | {"dtype": options.dtype}
    say(str(environment["device"]))
    if options.small:
        say("Tiny networks, to see that everything runs: their speeds mean nothing.")
    say(LINE.format(*HEAD))
    rows: list[Row] = []
    result = {"environment": environment, "rows": rows}
    for name in options.models:
        for row in rows_of(name, options):
            rows.append(row)
            say(table_line(row))
        if options.out is not None:
            write(result, options.out)
    return result


if __name__ == "__main__":
    main(program)
