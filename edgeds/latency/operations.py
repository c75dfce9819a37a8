"""Instructions as one core sees them: which ports, for how long, and when a result is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeds.devices.pipeline import Pipeline, of_form
from edgeds.errors import InputError
from edgeds.latency.decode import Instruction, is_vector
from edgeds.latency.mnemonics import MEMORY, Kind

_VECTOR_ARITHMETIC = frozenset(
    kind
    for kind in Kind
    if list(Kind).index(kind) >= list(Kind).index(Kind.FMLA) and kind not in (Kind.INSERT, Kind.DUPLICATE)
)


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction on a core. It takes `uses` (ports to choose from, and how many of them) `chunks` times, each for `busy` cycles.

    `latency` and `forward` are cycles from issue to a result, and to an accumulator. What it merges into it reads `late` cycles after issue.
    `update` are ports of which an update of its `base` takes one, out of order. `halves` counts the 64-bit vector registers that it writes: two for a 128-bit one, and those that ld2 to ld4 load before they sort.
    """

    kind: Kind
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    accumulator: int | None
    merged: int | None
    base: int | None
    update: tuple[int, ...]
    latency: int
    forward: int
    late: int
    uses: tuple[tuple[tuple[int, ...], int], ...]
    busy: int
    chunks: int
    halves: int
    quad: bool

    @property
    def memory(self) -> bool:
        """Whether it is a load or a store."""
        return self.kind in MEMORY

    @property
    def long(self) -> bool:
        """Whether it needs all of a narrow core's 64-bit units at once, or for several cycles."""
        return self.quad or (self.memory and self.chunks > 1)


def operations(instructions: Iterable[Instruction], pipeline: Pipeline) -> tuple[Operation, ...]:
    """`instructions` as the core of `pipeline` executes them. Raises InputError for one that it cannot execute."""
    numbers = {port: at for at, port in enumerate(port_names(pipeline))}
    return tuple(_operation(instruction, pipeline, numbers) for instruction in instructions)


def port_names(pipeline: Pipeline) -> tuple[str, ...]:
    """Every port of the core once."""
    return tuple(dict.fromkeys(port for group in pipeline.ports.values() for port in group))


def _operation(instruction: Instruction, pipeline: Pipeline, numbers: dict[str, int]) -> Operation:
    cost = pipeline.classes.get(instruction.kind)
    if cost is None:
        raise InputError(
            f"{pipeline.name} has no {instruction.mnemonic} ({instruction.kind}), but the program executed it; "
            "run it on the device that the estimate is for"
        )
    quad = instruction.quad
    chunks = 1
    if cost.each_bytes:
        chunks = max(1, -(-instruction.moved_bytes // cost.each_bytes))
    elif cost.each_register:
        chunks = max(1, instruction.moved_registers)
    latency = of_form(cost.latency, quad)
    uses = [
        (tuple(numbers[port] for port in pipeline.ports[group]), of_form(count, quad))
        for group, count in cost.uses.items()
    ]
    return Operation(
        kind=instruction.kind,
        reads=instruction.reads,
        writes=instruction.writes,
        accumulator=instruction.accumulator,
        merged=instruction.merged,
        base=instruction.base,
        update=_adders(pipeline, numbers) if instruction.base is not None else (),
        latency=latency,
        forward=latency if cost.forward is None else of_form(cost.forward, quad),
        late=cost.late,
        uses=tuple((ports, count) for ports, count in uses if count),
        busy=of_form(cost.busy, quad),
        chunks=chunks,
        halves=_halves(instruction),
        quad=quad and instruction.kind in _VECTOR_ARITHMETIC,
    )


def _adders(pipeline: Pipeline, numbers: dict[str, int]) -> tuple[int, ...]:
    """The ports that add integers."""
    return tuple(numbers[port] for group in pipeline.classes[Kind.ALU].uses for port in pipeline.ports[group])


def _halves(instruction: Instruction) -> int:
    times = (2 if instruction.quad else 1) * (2 if instruction.kind is Kind.LOAD_INTERLEAVED else 1)
    return times * sum(is_vector(register) for register in instruction.writes)
