"""What a command says, and how it ends."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax

from experiments.running.options import UsageError
from gen_jax import data, evaluation, training
from gen_jax.data.captions.letters import TextWarning

ARGUMENTS = re.compile(
    r"(?<![\w/.'\"-])(image_size|skip_bad_images|channels(?==\d))(?:=(?:(\d+)|True))?(?![\w/.'\"=-])"
)
"""What the library's messages call options of a command, outside paths and calls."""


def say(line: str) -> None:
    """Prints a line to the user: once, however many processes there are."""
    if jax.process_index() == 0:
        print(line, flush=True)


def of_options(message: str) -> str:
    """A message of the library in the words of the command line: ``--channels 3`` for
    ``channels=3``."""
    return ARGUMENTS.sub(
        lambda found: " ".join(filter(None, ("--" + found[1].replace("_", "-"), found[2]))), message
    )


def show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Shows what is not read of a user's texts as a line; other warnings as Python does."""
    shown = warnings.formatwarning(message, category, *where[:2])
    print(
        f"Note: {message}" if issubclass(category, TextWarning) else shown.rstrip(), file=sys.stderr
    )


def main(program: Callable[[], Any]) -> None:
    """Runs a script's ``program``: a user's mistake ends as one line and exit status 2."""
    warnings.showwarning = show_warning
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
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(130)  # XLA's threads that still compile crash while Python ends
    except data.DataError as error:
        print(f"error: {of_options(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except (UsageError, training.RunError, evaluation.WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
