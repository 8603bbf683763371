"""What a command says, and how it ends."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import jax

from experiments.running.options import UsageError
from gen_jax import data, evaluation, training


def say(line: str) -> None:
    """Prints a line to the user: once, however many processes there are."""
    if jax.process_index() == 0:
        print(line, flush=True)


def main(program: Callable[[], Any]) -> None:
    """Runs a script's ``program``: a user's mistake ends as one line and exit status 2."""
    try:
        try:
            program()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(stop.exit_code) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except (UsageError, data.DataError, training.RunError, evaluation.WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
