"""Blocks that a core does not see the end of are one."""

from __future__ import annotations

import pytest

from edgeds.latency.joining import joined
from edgeds.trace import Block, Lines
from tests.latency.code import NOP, b_ne, code, fmla

FIRST = Block(0x1000, code(fmla(0), fmla(1)), 1000, Lines(l2_hits=3, dram_reads=1), "gemm", "libx.so")
SECOND = Block(0x1008, code(fmla(2), b_ne(-3)), 1000, Lines(l2_hits=4), "gemm", "libx.so")


def test_a_loop_that_was_cut_in_two_is_one_block() -> None:
    (whole,) = joined([SECOND, FIRST])
    assert whole == Block(0x1000, FIRST.code + SECOND.code, 1000, Lines(l2_hits=7, dram_reads=1), "gemm", "libx.so")


def test_three_parts_are_one_block() -> None:
    third = Block(0x1008, code(fmla(2)), 1000)
    last = Block(0x100C, code(NOP, b_ne(-4)), 1000)
    assert [block.instructions for block in joined([FIRST, third, last])] == [5]


@pytest.mark.parametrize(
    "second",
    [
        Block(0x1008, SECOND.code, 999),  # something else runs into it, or jumps there
        Block(0x100C, SECOND.code, 1000),  # not the one behind
    ],
)
def test_blocks_that_do_not_always_follow_stay_two(second: Block) -> None:
    assert joined([FIRST, second]) == [FIRST, second]


def test_a_branch_ends_a_block() -> None:
    loop = Block(0x1000, code(fmla(0), b_ne(-1)), 1000)
    assert joined([loop, SECOND]) == [loop, SECOND]


def test_code_that_was_translated_twice_is_not_guessed_at() -> None:
    longer = Block(0x1008, code(fmla(2), NOP, b_ne(-4)), 1000)
    assert joined([FIRST, SECOND, longer]) == [FIRST, SECOND, longer]
