"""The options of ``benchmark_accelerator``."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from experiments.running.options import free, require_at_least, require_positive

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
        require_positive(self, "minutes", "seconds", "paper_seconds")
        require_at_least(1, self, "batch")


PRESETS = {
    "smoke": Options(batch=(2,), seconds=0.05, paper_seconds=0.5, small=True),
    "default": Options(),
}
