"""The options of ``benchmark_accelerator``."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from experiments.running.options import UsageError, free

Part = Literal["bare", "headline", "steps", "samplers", "twins", "paper"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, where to keep it, and for how long."""

    minutes: float = free(8.0)
    """No row begins later than this; the last one may end later."""
    out: Path | None = free(None)
    """Folder of rows.json and table.md, where the same command resumes; default
    runs/benchmark_accelerator/PRESET."""
    part: tuple[Part, ...] = free(get_args(Part))
    """What to measure; the order is always the default's."""
    batch: tuple[int, ...] = (1, 16, 256, 4096)
    """Images drawn at once."""
    seconds: float = 2.0
    """Seconds of repetitions for each row, at most."""
    paper_seconds: float = 60.0
    """Seconds of training for each run of a paper's preset, at most."""
    small: bool = False
    """Few and tiny networks, to check that everything runs."""

    def __post_init__(self):
        times = self.minutes, self.seconds, self.paper_seconds
        if not all(x > 0 for x in (*times, *self.batch)):
            raise UsageError("--minutes, --batch, --seconds and --paper-seconds must be positive")


PRESETS = {
    "smoke": Options(batch=(2,), seconds=0.05, paper_seconds=0.5, small=True),
    "default": Options(),
}
