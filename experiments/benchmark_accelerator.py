"""Everything measured on one accelerator, the most valuable first, within a given time.

    python -m experiments.benchmark_accelerator smoke
    python -m experiments.benchmark_accelerator --minutes 8 --out DIR
    python -m experiments.benchmark_accelerator --part bare headline --out DIR

It runs on the first device that JAX finds, and writes ``rows.json`` and ``table.md`` into the
folder after every row. The same command resumes where it was cut off; a folder of another device,
of other versions or options is refused. No row begins after ``--minutes``, so that it ends late by
one row at most; rows that had no time are listed. A row that fails says why.

1. bare: products of matrices (operations a second; whether float32 is TF32, by its error), and a
   copy (bytes read and written).
2. headline: images a second of a Gated PixelCNN 7×32 on 28×28 binary pixels, cached, beside one
   pass of the network and naive sampling (measured on a few positions and scaled). ``kernels a
   pixel`` are the instructions that XLA's optimized program runs for a batch, divided by the
   pixels of an image; none where a loop's length is not known (``accelerator/kernels.py``).
3. steps: each model's training step in float32 and bfloat16. Operations are those of its products
   and convolutions (``benchmarks/arithmetic.py``), set against the product of the same dtype.
4. samplers: the other networks, Jacobi for some.
5. twins: eager and compiled PyTorch, where it sees the same device.
6. paper: short runs of ``paper`` presets on the shipped digits, with their validation score by
   seconds of training.

Seconds are medians of repetitions; compilation is a column of its own. It needs jax, flax, optax
and jaxtyping, with their own dependencies; safetensors for GAN's score, and torch for the twins.
tyro is used where it is installed.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.accelerator.ledger import NAME, opened
from experiments.benchmarks.accelerator.measuring import measure_all
from experiments.benchmarks.accelerator.options import PRESETS
from experiments.benchmarks.accelerator.plan import plan
from experiments.running.options import parse
from experiments.running.terminal import main, say
from gen_jax import training


def program(argv: Sequence[str] | None = None) -> Path:
    """Measures, and returns the folder of the rows."""
    prog = f"python -m experiments.{NAME}"
    preset, _, options = parse(PRESETS, argv, prog=prog, description=__doc__)
    end = time.monotonic() + 60.0 * options.minutes
    training.check_platform()
    folder = options.out or Path("runs") / NAME / preset
    tasks, notes = plan(options)
    with opened(folder, preset, options, tasks, notes) as ledger:
        say(
            f"{ledger.environment['device']}: {len(ledger.missing)} of {len(tasks)} rows to measure"
        )
        measure_all(ledger, end=end, seconds=options.seconds)
        left = f"There was no time for {len(ledger.missing)} rows: the same command measures them. "
        say(f"{left if ledger.missing else ''}Table: {folder / 'table.md'}")
    return folder


if __name__ == "__main__":
    main(program)
