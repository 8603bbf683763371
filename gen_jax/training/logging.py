"""What a run reports while it runs: rows of metrics, TensorBoard events, and lines for a person."""

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gen_jax.files import png, sync, write_atomically, writing

PLAIN_LINE_EVERY_S = 10.0


class RunLog:
    """``metrics.jsonl``, TensorBoard events and ``samples/`` of a run folder, from ``step`` on.

    What an earlier process wrote beyond ``step`` (it was killed, and its steps come again) is
    dropped, and so is a line that it did not finish. Raises ``RunError`` where it cannot write.
    """

    def __init__(self, folder: pathlib.Path, step: int, seconds: float = 0.0):
        self._folder = folder
        self._first = step
        self._begin = time.monotonic() - seconds
        self._path = folder / "metrics.jsonl"
        with writing(self._path):
            _drop_rows_beyond(self._path, step)
            self._rows = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 -- until close
            sync(folder)
        self._events: Any = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a row; a value that is not finite has no place in JSON and is left out."""
        finite = {name: float(v) for name, v in values.items() if math.isfinite(v)}
        row = {"step": step, "time": round(time.monotonic() - self._begin, 3), **finite}
        with writing(self._path):
            self._rows.write(json.dumps(row) + "\n")
            self._rows.flush()
        self._event(step, [{"tag": name, "simple_value": v} for name, v in finite.items()])

    def image(
        self, step: int, name: str, image: UInt8[np.ndarray, "height width channels"]
    ) -> None:
        """Saves a picture as ``samples/step_00000100.png`` and shows it in TensorBoard."""
        image = np.asarray(image)
        if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 3):
            raise ValueError(
                f"a sample must be uint8 [height, width, 1 or 3], got {image.dtype} {image.shape}"
            )
        height, width, channels = image.shape
        encoded = png(image)
        path = self._folder / "samples" / f"step_{step:08d}.png"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        write_atomically(path, encoded)
        picture = {"height": height, "width": width, "colorspace": channels}
        picture["encoded_image_string"] = encoded
        self._event(step, [{"tag": name, "image": picture}])

    def sync(self) -> None:
        """Waits until the rows are on the disk; the rows of a checkpoint's steps come before it."""
        with writing(self._path):
            os.fsync(self._rows.fileno())

    def close(self) -> None:
        with writing(self._path):
            self._rows.close()
            if self._events is not None:
                self._events.close()

    def _event(self, step: int, values: list[dict[str, Any]]) -> None:
        proto, events_writer = _tensorboard()
        with writing(self._folder):
            if self._events is None:
                # A process of its own gets a file of its own, also within one second.
                self._events = events_writer(str(self._folder / "events"), f".{os.getpid()}")
                start = proto.SessionLog(status=proto.SessionLog.START)
                # TensorBoard drops what another process wrote from here on.
                self._write_event(proto, step=self._first + 1, session_log=start)
            self._write_event(proto, step=step, summary={"value": values})
            self._events.flush()

    def _write_event(self, proto: Any, **content: Any) -> None:
        self._events.write_event(proto.Event(wall_time=time.time(), **content))


class Console:
    """Progress for a person, on stderr: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self, *, first: int, steps: int, batch_size: int, quiet: bool):
        self._steps, self._batch_size, self._quiet = steps, batch_size, quiet
        self._bar: Any = None
        self._last_line = time.monotonic()
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=first, unit="step", dynamic_ncols=True)

    def progress(self, step: int, name: str, value: float, examples_per_s: float) -> None:
        """Shows a metric and the speed after ``step`` updates."""
        shown = f"{name} {value:.4g}, {examples_per_s:,.0f} examples/s"
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() - self._last_line > PLAIN_LINE_EVERY_S:
            left = (self._steps - step) * self._batch_size / examples_per_s
            minutes, seconds = divmod(round(left), 60)
            self.line(f"step {step} of {self._steps}: {shown}, {minutes}:{seconds:02d} left")

    def line(self, text: str) -> None:
        """Prints a line of its own."""
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _drop_rows_beyond(path: pathlib.Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _row_step(line) <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(kept))


def _row_step(line: str) -> float:
    """The step of a row; infinity for a line that is not one (torn by a kill)."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def _tensorboard() -> tuple[Any, Any]:
    """tensorboardX's event records and their writer.

    Its ``SummaryWriter`` is not used: the thread in it would die of a full disk on its own.
    """
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    return event_pb2, EventsWriter
