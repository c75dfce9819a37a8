"""Two kinds of cores, as simulators of one block that is executed over and over: in order, and out of order.

Each keeps a scoreboard (when the value of a register is there) and a calendar of ports, and gives the cycle in which each repetition ends.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from edgeds.devices.pipeline import Execution, Rule
from edgeds.latency.calendar import Calendar
from edgeds.latency.decode import FLAGS
from edgeds.latency.mnemonics import Kind
from edgeds.latency.operations import Operation


class Scoreboard:
    """When the value of each register can be read, and when by the accumulator of an instruction that adds to it."""

    def __init__(self, execution: Execution) -> None:
        self._flags = execution.flags
        self._ready: dict[int, int] = defaultdict(int)
        self._forwarded: dict[int, tuple[int, str]] = {}
        self._issued: dict[int, int] = defaultdict(lambda: -1)

    def ready(self, operation: Operation) -> int:
        """The first cycle in which `operation` has all that it reads."""
        first = max((self._ready[r] for r in operation.reads if r != operation.accumulator), default=0)
        if (merged := operation.merged) is not None:
            return max(first, self._ready[merged] - operation.late, self._issued[merged] + 1)
        if (accumulator := operation.accumulator) is None:
            return first
        cycle, kind = self._forwarded.get(accumulator, (0, ""))
        return max(first, cycle if kind == operation.kind else self._ready[accumulator])

    def write(self, operation: Operation, issued: Sequence[int]) -> int:
        """Notes the results of `operation`, whose parts were issued in the cycles `issued`; returns when the last is there."""
        writes = operation.writes
        for k, register in enumerate(writes):
            cycle = issued[(k + 1) * len(issued) // len(writes) - 1] if len(issued) >= len(writes) else issued[-1]
            self._issued[register] = cycle
            self._ready[register] = cycle + operation.latency
            self._forwarded[register] = (cycle + operation.forward, operation.kind)
        if FLAGS in writes and operation.kind is Kind.ALU:
            self._ready[FLAGS] = issued[-1] + self._flags
        return issued[-1] + operation.latency

    def base_ready(self, operation: Operation) -> int:
        """When the address is there that `operation` updates; 0 where it updates none."""
        return 0 if operation.base is None else self._ready[operation.base]

    def update_base(self, operation: Operation, cycle: int) -> None:
        """Notes that the address which `operation` updates can be read from `cycle` on."""
        if operation.base is not None:
            self._ready[operation.base] = cycle


def out_of_order(block: Sequence[Operation], execution: Execution, n_ports: int) -> Iterator[int]:
    """The cycle in which each repetition of `block` has retired.

    `width` instructions are dispatched a cycle, and `renames` halves of vectors, while fewer than `window` are in flight; each part of one takes
    the first free port when its operands are there, whatever older ones wait for.
    """
    scoreboard, calendar = Scoreboard(execution), Calendar(n_ports)
    in_flight: deque[int] = deque()
    retired = n_dispatched = n_renamed = 0
    while True:
        for operation in block:
            since = n_dispatched // execution.width
            n_renamed += operation.halves
            if execution.renames:
                since = max(since, (n_renamed - 1) // execution.renames)
            if len(in_flight) == execution.window:
                since = max(since, in_flight.popleft())
            issued = _issue(operation, calendar, max(since, scoreboard.ready(operation)))
            retired = max(retired, scoreboard.write(operation, issued))
            if operation.update:  # an addition of its own, which waits for nothing but the address
                updated = calendar.take_first(operation.update, max(since, scoreboard.base_ready(operation)), 1)
                scoreboard.update_base(operation, updated + 1)
            in_flight.append(retired)
            n_dispatched += 1
        yield retired


def _issue(operation: Operation, calendar: Calendar, since: int) -> list[int]:
    """When the last part of each of its chunks is issued, less what parts must wait for each other anyway, as latencies count that."""
    issued = [since] * operation.chunks
    for ports, count in operation.uses:
        for chunk in range(operation.chunks):
            for part in range(count):
                cycle = calendar.take_first(ports, since, operation.busy)
                issued[chunk] = max(issued[chunk], cycle - part // len(ports))
    return issued


def in_order(block: Sequence[Operation], execution: Execution, n_ports: int) -> Iterator[int]:
    """The cycle in which the last instruction of each repetition of `block` was issued.

    None is issued before the one ahead of it. Up to `width` are issued in one cycle, if the ports have room and no rule forbids it.
    """
    scoreboard, calendar = Scoreboard(execution), Calendar(n_ports)
    cycle, together = 0, 0
    previous: Operation | None = None
    while True:
        for operation in block:
            first = max(cycle, scoreboard.ready(operation))
            if first > cycle:
                cycle, together = first, 0
            while not (
                together < execution.width
                and _have_room(operation, calendar, cycle)
                and not (together and previous and _is_forbidden(previous, operation, execution))
            ):
                cycle, together = cycle + 1, 0
            for chunk in range(operation.chunks):
                for ports, count in operation.uses:
                    calendar.take(ports, count, cycle + chunk, operation.busy)
            scoreboard.write(operation, range(cycle, cycle + operation.chunks))
            scoreboard.update_base(operation, cycle + 1)
            together, previous = together + 1, operation
        yield cycle


def _have_room(operation: Operation, calendar: Calendar, cycle: int) -> bool:
    return all(
        len(calendar.free(ports, cycle + chunk, operation.busy)) >= count
        for chunk in range(operation.chunks)
        for ports, count in operation.uses
    )


def _is_forbidden(previous: Operation, operation: Operation, execution: Execution) -> bool:
    if Rule.LONG_FIRST in execution.rules and operation.long:
        return True
    return Rule.QUAD_NOT_AFTER_MEMORY in execution.rules and previous.memory and operation.quad
