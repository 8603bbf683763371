"""All tasks of the benchmark, most valuable first."""

from experiments.benchmarks.accelerator.bare_tasks import bare_tasks
from experiments.benchmarks.accelerator.options import Options, Part
from experiments.benchmarks.accelerator.paper_tasks import paper_tasks
from experiments.benchmarks.accelerator.sampler_tasks import headline_tasks, other_tasks
from experiments.benchmarks.accelerator.step_tasks import step_tasks, twin_tasks
from experiments.benchmarks.accelerator.tasks import Task
from experiments.benchmarks.peers import why_no_peer


def plan(options: Options) -> tuple[list[Task], list[str]]:
    """The tasks in their order, and notes on what is none here."""
    reason = why_no_peer("float32") if "twins" in options.part else None
    notes = [] if reason is None else [f"PyTorch is not measured: {reason}."]
    parts: dict[Part, list[Task]] = {
        "bare": bare_tasks(small=options.small),
        "headline": [*headline_tasks(options)],
        "steps": step_tasks(options),
        "samplers": [*other_tasks(options)],
        "twins": [] if reason else twin_tasks(options),
        "paper": paper_tasks(options),
    }
    return [task for part in parts if part in options.part for task in parts[part]], notes
