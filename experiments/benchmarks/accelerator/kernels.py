"""How many kernels a compiled program launches, counted in XLA's optimized program.

Each instruction of a computation that XLA runs is one kernel: a fusion, a library's call, a copy.
Not counted are names for existing values (tuples, bitcasts, constants), the ends of asynchronous
operations (``copy-done``), and a loop's own condition, since the number of trips is known before. A
loop counts its body once a trip. A library's call may launch more than one kernel.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("add-dependency", "opt-barrier", "partition-id", "replica-id"),
}
HEAD = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{$")
CALLEES = re.compile(r"(?:to_apply|calls|body)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Instruction(NamedTuple):
    """Its operation, and all that follows on its line."""

    operation: str
    rest: str


def launches(text: str | None) -> int | None:
    """Kernels that a run of the program launches; None where a loop's number of trips is not known,
    or there is no text of an optimized program to count in."""
    computations, entry = _parse(text or "")
    return _count(entry, computations) if entry in computations else None


def _count(name: str, computations: dict[str, list[Instruction]]) -> int | None:
    total = 0
    for instruction in computations.get(name, []):
        count = _kernels(instruction, computations)
        if count is None:
            return None
        total += count
    return total


def _kernels(instruction: Instruction, computations: dict[str, list[Instruction]]) -> int | None:
    operation, rest = instruction
    if operation in FREE or operation.endswith(("-done", "-update")):
        return 0
    operation = operation.removesuffix("-start")
    if operation == "conditional":
        names = re.findall(r"[\w.-]+", " ".join(a or b for a, b in BRANCHES.findall(rest)))
        counts = [_count(name, computations) for name in names]
        return None if None in counts else max(filter(None, counts), default=0)
    if operation not in ("while", "call", "async"):
        return 1
    callee = CALLEES.search(rest)
    each = _count(callee[1], computations) if callee else None
    if operation != "while" or not each:
        return each
    trips = TRIPS.search(rest)
    return int(trips[1]) * each if trips else None


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation by its name, and the name of the first that runs."""
    computations: dict[str, list[Instruction]] = {}
    entry, inside = "", None
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            inside = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif inside is not None and " = " in line:
            inside.extend(_instruction(line.partition(" = ")[2]))
    return computations, entry


def _instruction(line: str) -> Iterator[Instruction]:
    """Of a line without its name: a type, in parentheses where it is a tuple; the operation."""
    depth = 0
    for place, letter in enumerate(line):
        depth += (letter == "(") - (letter == ")")
        if letter == " " and depth == 0:
            operation, _, rest = line[place + 1 :].partition("(")
            yield Instruction(operation, rest)
            return
