"""Graceful stops: on SIGTERM or Ctrl-C a run saves its work and ends."""

import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
import numpy as np


class Interrupted(Exception):
    """A run received a signal, saved, and stopped; says so in one line.

    A script ends with ``exit_code``: 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


class StopRequest:
    """Catches SIGTERM and Ctrl-C within a ``with`` block, in the main thread only.

    A second Ctrl-C ends the process at once; what is on the disk is whole at any moment. The
    earlier handlers are restored at the end of the block.
    """

    def __init__(self):
        self._signum = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self._signum = signum
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def received(self, *, everywhere: bool) -> int:
        """The signal received, 0 for none.

        Several processes must stop at the same step: where ``everywhere`` says that all of them
        call, they agree on the signal; elsewhere the answer is 0.
        """
        if jax.process_count() == 1:
            return self._signum
        if not everywhere:
            return 0
        from jax.experimental import multihost_utils

        return int(np.max(multihost_utils.process_allgather(np.int32(self._signum))))
