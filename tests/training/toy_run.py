"""Trains the toy model on a run folder, as a script that can be killed and started again.

Prints ``under way`` when the compiled step runs, and at the end the digest of the whole state; of
several processes each prints what it evaluates together and alone. With
``--hold``, prints ``first batch`` when that is asked for, and ``asked to stop`` before it is made.
"""

import argparse
import functools
import json
import signal
import sys
import time

import jax
import toy

from gen_jax import training


class Announcing(toy.Batches):
    def __init__(self, *, hold: bool, delay_s: float):
        super().__init__(delay_s=delay_s)
        self._hold = hold

    def batch_at(self, step, rows=None):
        if self._hold and not self.asked:
            print("first batch", flush=True)
            while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
                time.sleep(0.01)
            print("asked to stop", flush=True)
        batch = super().batch_at(step, rows)
        if len(self.asked) == 7:  # the third dispatch's: the first one is compiled
            print("under way", flush=True)
        return batch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--how", default="jit")
    parser.add_argument("--checkpoint-every", type=int, default=20)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--bad-step", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.process is not None:
        jax.distributed.initialize(f"127.0.0.1:{options.port}", 2, options.process)
    step = training.compile_step(
        functools.partial(toy.train_step, bad_step=options.bad_step),
        steps_per_dispatch=3,
        how=options.how,
    )
    state, batches = toy.make_state(), Announcing(hold=options.hold, delay_s=options.delay_s)
    try:
        config = toy.Config(steps=options.steps)
        with training.open_run(
            options.run_dir, experiment="toy", preset="smoke", config=config
        ) as run:
            result = training.fit(
                state,
                step,
                batches,
                steps=options.steps,
                run=run,
                checkpoint_every=options.checkpoint_every,
                log_every=7,
            )
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except training.RunError as error:
        sys.exit(str(error))
    if options.process is not None:
        evaluate(result.state, alone=options.process == 0)
    rows = {str(rows) for _, rows in batches.asked}
    digest = training.params_digest(result.state)
    print(f"digest {digest} from {result.first_step} rows {', '.join(rows)}", flush=True)


def evaluate(state, *, alone: bool) -> None:
    """Evaluates on all processes' devices, and then in one process on its own."""
    together = training.compile_eval(toy.scores)
    print("together", json.dumps(together(state, toy.examples(7))["loss"].tolist()), flush=True)
    if alone:
        mesh = training.make_mesh(jax.local_devices())
        score = training.compile_eval(toy.scores, mesh)
        loss = score(training.local_copy(state), toy.examples(7))["loss"]
        print("alone", json.dumps(loss.tolist()), flush=True)


if __name__ == "__main__":
    main()
