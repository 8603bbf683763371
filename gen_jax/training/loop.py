"""The training loop: dispatches, and what happens between them."""

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Literal

import jax
import numpy as np

from gen_jax.files import RunError
from gen_jax.training.checkpoint import Checkpoints
from gen_jax.training.logging import Console, RunLog
from gen_jax.training.meter import Meter, NotFinite
from gen_jax.training.run import Run
from gen_jax.training.sharding import BatchSource, CompiledStep, State, Step, compile_step
from gen_jax.training.signals import Interrupted, StopRequest
from gen_jax.typing import Array, Metrics

Evaluate = Callable[[State], Mapping[str, float]]
Sample = Callable[[State], np.ndarray]


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What ``fit`` returns."""

    state: State
    first_step: int  # finished updates when this call began; more than 0 where it resumed
    steps: int  # finished updates now
    seconds: float  # wall clock, with that of earlier calls on the same run folder
    examples_per_s: float  # of training, without compilation, evaluations and samples
    scores: dict[str, float]  # of this call's last evaluation


def fit(
    state: State,
    train_step: Step | CompiledStep,
    batches: BatchSource,
    *,
    steps: int,
    run: Run | None = None,
    evaluate: Evaluate | None = None,
    eval_every: int | None = None,
    sample: Sample | None = None,
    sample_every: int | None = None,
    checkpoint_every: int | None = None,
    log_every: int = 100,
    keep: int = 3,
    best: str | None = None,
    best_mode: Literal["min", "max"] = "min",
    quiet: bool = False,
) -> FitResult:
    """Trains until ``steps`` updates are done, from the newest checkpoint of ``run`` if it has one.

    ``train_step`` is compiled for all devices, one step a dispatch, unless it comes compiled by
    ``compile_step``; a dispatch has fewer steps where their batches would take more memory than
    ``stacks.STACK_BYTES``. Update n (from 0) uses ``batches.batch_at(n)``, so that the same bits
    come out however a run was cut. At multiples of the ``_every`` arguments, and at the end,
    ``evaluate(state)`` gives named scores, ``sample(state)`` a picture (uint8 [height, width,
    channels]), and a checkpoint is saved; the ``keep`` newest stay, and the one whose score
    ``best`` is lowest or highest. Metrics are logged as means over ``log_every`` updates.

    The ``state`` given stays valid. Raises ``RunError`` where a metric or the state is not finite
    (naming the step and how to replay it) and where the run folder cannot be written, and
    ``Interrupted`` after SIGTERM or Ctrl-C, once the state is saved.
    """
    if best is not None and evaluate is None:
        raise ValueError(f"best={best!r} needs evaluate, which gives that score")
    begin = time.perf_counter()
    step = train_step if isinstance(train_step, CompiledStep) else compile_step(train_step)
    schedule = _Schedule(
        steps,
        eval_every=eval_every if evaluate else None,
        sample_every=sample_every if sample else None,
        checkpoint_every=checkpoint_every if run else None,
    )
    with ExitStack() as stack:
        saves = None
        if run is not None:
            saves = Checkpoints(run.dir / "checkpoints", keep=keep, best=best, best_mode=best_mode)
            stack.enter_context(closing(saves))
        state, first, spent, rate = _newest(saves, state)
        if first >= steps:
            return FitResult(state, first, first, spent, rate, {})
        quiet = quiet or jax.process_index() != 0
        console = Console(first=first, steps=steps, batch_size=batches.batch_size, quiet=quiet)
        stack.enter_context(closing(console))
        log = None
        if run is not None and run.writes:
            run.write_config()
            log = stack.enter_context(closing(RunLog(run.dir, first, spent)))
            if first:
                console.line(f"resuming from step {first} in {run.dir}")
                run.write_environment()
        meter = Meter(batches.batch_size, log_every, log, console)
        begin -= spent
        pauses = _Pauses(schedule, evaluate, sample, run, saves, log, console, meter, begin)
        stop = stack.enter_context(StopRequest())
        state = step.place(state)  # under the same name, which frees what was restored
        state = _run(step, state, batches, first, meter, pauses, stop)
    seconds = time.perf_counter() - begin
    return FitResult(state, first, steps, seconds, meter.examples_per_s, pauses.scores)


def _newest(saves: Checkpoints | None, state: State) -> tuple[State, int, float, float]:
    """Where to begin: the state, its step, and the seconds and the speed on the way to it."""
    newest = saves.restore_newest(state) if saves is not None else None
    if newest is None:
        return state, int(state.step), 0.0, 0.0
    state, record = newest
    progress = record["progress"]
    return state, record["step"], progress["seconds"], progress["examples_per_s"]


def _run(
    step: CompiledStep,
    placed: State,
    batches: BatchSource,
    first: int,
    meter: Meter,
    pauses: "_Pauses",
    stop: StopRequest,
) -> State:
    """The loop itself. Returns the final state."""
    state, end = None, first
    running: tuple[int, int, Metrics] | None = None
    compiled = False
    try:
        with closing(_dispatches(step, batches, pauses.schedule, first)) as dispatches:
            for first, n, stack in dispatches:
                called = time.perf_counter()
                placed, metrics = step(placed, stack, n)
                if not compiled:  # the first call returns when the device has begun
                    meter.note("speed/compile_s", time.perf_counter() - called)
                    compiled = True
                if running is not None:
                    meter.read(*running)  # waits for the dispatch before, while this one runs
                running = first, n, metrics
                end = first + n
                if not (pauses.schedule.due(end) or stop.received(everywhere=False)):
                    continue
                meter.read(*running)
                running = None
                signum = stop.received(everywhere=True)
                with meter.paused():
                    state = pauses.take(step, placed, end, stopping=bool(signum))
                if signum:
                    break
        # A signal during the last evaluation or save still stops the run.
        if signum := stop.received(everywhere=True):
            raise Interrupted(pauses.stopped(end), signum)
        pauses.finish()
    except NotFinite as error:
        raise RunError(pauses.advice(error)) from None
    return state


def _dispatches(
    step: CompiledStep, batches: BatchSource, schedule: "_Schedule", first: int
) -> Generator[tuple[int, int, dict[str, Array]]]:
    """The batches of each dispatch, on the devices: prepared while the one before is used."""
    # Of the run's steps, not of those that are left: a resumed run has the same program. At least
    # two, as one is compiled otherwise, and a run of one step may be extended.
    at_most = min(step.steps_per_dispatch, max(2, schedule.steps))
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:

        def prepare(first: int) -> tuple[int, int, Future[dict[str, Array]] | None]:
            n = schedule.length(first, at_most)
            if not n:
                return first, n, None
            return first, n, pool.submit(step.gather, batches, first, n, at_most=at_most)

        first, n, pending = prepare(first)
        while pending is not None:
            stack = pending.result()
            n = min(n, step.length(stack))
            following = prepare(first + n)
            yield first, n, stack
            first, n, pending = following


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """When to leave the compiled loop: at multiples of each interval, and at the end."""

    steps: int
    _: dataclasses.KW_ONLY
    eval_every: int | None
    sample_every: int | None
    checkpoint_every: int | None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def length(self, first: int, at_most: int) -> int:
        """Steps of the dispatch that begins after ``first`` updates; 0 at the end."""
        every = (self.eval_every, self.sample_every, self.checkpoint_every)
        return min([at_most, self.steps - first, *(x - first % x for x in every if x)])

    def hits(self, step: int, every: int | None) -> bool:
        return step == self.steps or (every is not None and step % every == 0)

    def due(self, step: int) -> bool:
        every = (self.eval_every, self.sample_every, self.checkpoint_every)
        return any(self.hits(step, x) for x in every)


@dataclasses.dataclass
class _Pauses:
    """What happens between dispatches: evaluations, samples, checkpoints, and closing messages."""

    schedule: _Schedule
    evaluate: Evaluate | None
    sample: Sample | None
    run: Run | None
    saves: Checkpoints | None
    log: RunLog | None
    console: Console
    meter: Meter
    begin: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)

    def take(self, step: CompiledStep, placed: State, end: int, *, stopping: bool) -> State:
        """Does what is due after ``end`` updates, on a copy of the state, which it returns.

        The checkpoint is written while the next dispatch runs.
        """
        state, sound = step.snapshot(placed)
        if not bool(sound):
            raise NotFinite("the state holds a value that is not finite", end)
        due, scores = self.schedule, {}
        if stopping or end == due.steps:
            self.meter.flush(end)
        if self.evaluate is not None and due.hits(end, due.eval_every):
            scores = {name: float(value) for name, value in self.evaluate(state).items()}
            self.scores = scores
            if scores:
                shown = ", ".join(f"{name} {value:.5g}" for name, value in scores.items())
                self.console.line(f"step {end} of {due.steps}: {shown}")
            if scores and self.log is not None:
                self.log.scalars(end, scores)
        if self.sample is not None and due.hits(end, due.sample_every):
            picture = self.sample(state)
            if self.log is not None:
                self.log.image(end, "samples", picture)
        if self.saves is not None and (stopping or due.hits(end, due.checkpoint_every)):
            progress = {
                "seconds": time.perf_counter() - self.begin,
                "examples_per_s": self.meter.examples_per_s,
            }
            if self.log is not None:
                self.log.sync()
            self.saves.save(end, state, scores, progress)
        return state

    def finish(self) -> None:
        """Waits for the last save."""
        if self.saves is not None:
            self.saves.wait()

    def stopped(self, end: int) -> str:
        """What a run stopped by a signal reports, once its state is saved."""
        self.finish()
        if self.run is None:
            return f"stopped after step {end}; without a run folder nothing is saved"
        return f"saved step {end} in {self.run.dir}; the same command resumes from there"

    def advice(self, error: NotFinite) -> str:
        """What went wrong at which step, what is saved, and how to find the operation."""
        self.finish()
        flag = "JAX_DEBUG_INFS=True" if error.infinite else "JAX_DEBUG_NANS=True"
        saved, start = "there is no checkpoint yet", "starts over"
        if self.saves is not None and self.saves.last_step is not None:
            at = f"step {self.saves.last_step} in {self.saves.folder}"
            saved, start = f"the last good checkpoint is {at}", "resumes exactly from it"
        return (
            f"{error} after step {error.step}; {saved}: the same command with {flag} in its "
            f"environment {start} and stops at the operation that made it"
        )
