"""Blocks that the emulator cut in two. It ends a block that grows too long, or that comes to the end of a page: a core sees no such end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, replace

from edgeds.latency.decode import decode
from edgeds.latency.mnemonics import Kind
from edgeds.trace import Block, Lines

_ENDS = frozenset({Kind.BRANCH, Kind.SYSTEM})


def joined(blocks: Iterable[Block]) -> list[Block]:
    """`blocks`, each with the one behind it where it does not end by itself and both were executed equally often."""
    starting: dict[int, list[Block]] = defaultdict(list)
    ordered = sorted((block for block in blocks if block.code), key=lambda block: block.address)
    for block in ordered:
        starting[block.address].append(block)
    taken: set[int] = set()
    found = []
    for block in ordered:
        if id(block) in taken:
            continue
        while (behind := _behind(block, starting)) is not None and id(behind) not in taken:
            taken.add(id(behind))
            block = _join(block, behind)
        found.append(block)
    return found


def _behind(block: Block, starting: dict[int, list[Block]]) -> Block | None:
    """The block that `block` always runs into."""
    if decode(int.from_bytes(block.code[-4:], "little")).kind in _ENDS:
        return None
    behind = starting.get(block.address + len(block.code), [])
    return behind[0] if len(behind) == 1 and behind[0].executions == block.executions else None


def _join(first: Block, second: Block) -> Block:
    lines = Lines(*(a + b for a, b in zip(astuple(first.lines), astuple(second.lines), strict=True)))
    return replace(first, code=first.code + second.code, lines=lines)
