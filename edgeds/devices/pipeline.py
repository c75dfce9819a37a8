"""How a core executes, as its TOML file says: ports, and what each kind of instruction takes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from edgeds.errors import InputError

# a number, or one for the 64-bit and one for the 128-bit form
Forms = int | tuple[int, int]


class Rule(StrEnum):
    """What a core that executes in order does not issue in one cycle, beyond what its ports say."""

    QUAD_NOT_AFTER_MEMORY = "quad_not_after_memory"  # a 128-bit vector operation right behind a load or store
    LONG_FIRST = "long_first"  # a 128-bit vector operation, or a load or store of several cycles, behind anything


def of_form(value: Forms, quad: bool) -> int:
    """The number for the 128-bit form, or else for the 64-bit form."""
    return value if isinstance(value, int) else value[quad]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of instruction takes.

    `latency` is in cycles from issue to a result; `forward` the same to the accumulator of an instruction of the same kind; what a
    lane is put into is read `late` cycles after issue. `uses` is how many ports of each group it takes, each for `busy` cycles; once for every `each_bytes` bytes that it moves, or for
    every register where `each_register`.
    """

    latency: Forms
    uses: dict[str, Forms]
    source: str
    forward: Forms | None = None
    late: int = 0
    busy: Forms = 1
    each_bytes: int = 0
    each_register: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """What a core does every cycle: how many instructions it starts, in which order, and how many it holds in flight (`window`).

    `renames` is how many 64-bit vector results can be given a register in a cycle, where that is less than its instructions can have.
    `flags` is how many cycles after an addition a branch or a selection can use its flags. `mispredict` is what a wrongly predicted branch costs, in cycles; the end of a loop is predicted where it comes after at most
    `learned_iterations`.
    """

    order: Literal["in", "out"]
    width: int
    mispredict: int
    learned_iterations: int
    source: str
    window: int = 0
    renames: int | None = None
    flags: int = 1
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A core's pipeline. `ports` has the members of each group; `classes` the cost of each kind, by the name of edgeds.latency's Kind."""

    name: str
    pipeline: Execution
    ports: dict[str, tuple[str, ...]]
    classes: dict[str, Cost]
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, cost in self.classes.items():
            if cost.source not in self.sources:
                raise InputError(
                    f"{kind} of {self.name} has the source {cost.source!r}; choose from {', '.join(self.sources)}"
                )
            if unknown := set(cost.uses) - set(self.ports):
                raise InputError(f"{kind} of {self.name} uses {min(unknown)!r}; choose from {', '.join(self.ports)}")
