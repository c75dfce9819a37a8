"""Branches that a core predicts wrongly. Of loops it is the last one, where the loop is too long to be learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edgeds.devices.pipeline import Execution
from edgeds.trace import Block


def mispredicted_branches(blocks: Iterable[Block], execution: Execution) -> int:
    """How many ends of loops were not foreseen.

    A loop is a conditional branch back; it ends as often as what stands behind the branch is executed. Its iterations
    are those of the branch by its ends: a core of `execution` learns up to `learned_iterations`.
    """
    begun: Counter[int] = Counter()
    branches: Counter[int] = Counter()
    for block in blocks:
        begun[block.address] += block.executions
        if len(block.code) >= 4 and _goes_back(int.from_bytes(block.code[-4:], "little")):
            branches[block.address + len(block.code) - 4] += block.executions
    ends = {at: min(begun[at + 4], executions) for at, executions in branches.items()}
    return sum(n for at, n in ends.items() if n and branches[at] / n > execution.learned_iterations)


def _goes_back(word: int) -> bool:
    """Whether `word` is b.cond, cbz, cbnz, tbz or tbnz with a negative offset (Arm DDI 0487, C4.1.65)."""
    if word >> 24 == 0x54 or word >> 25 & 0x3F == 0b011010:
        return bool(word >> 23 & 1)
    return word >> 25 & 0x3F == 0b011011 and bool(word >> 18 & 1)
