"""Which function a block belongs to, also where a library has no names: then its code is divided at gaps that nothing executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgeds.latency.decode import decode_block
from edgeds.latency.mnemonics import MEMORY, Kind
from edgeds.trace import Block

# Bytes between two blocks that make them two functions. Within one, what is not executed is shorter: error paths, the ends of loops.
_GAP = 512
_PLAIN = MEMORY | {Kind.ALU, Kind.ALU_SHIFT, Kind.BRANCH, Kind.NOP, Kind.PREFETCH}


def function_names(blocks: Sequence[Block]) -> list[str]:
    """The function of each block. One without a name is called by its library, its place there and what it mostly computes:
    `libx.so+0x1a634, smlal`.
    """
    names = [block.symbol for block in blocks]
    for group in _nameless(blocks):
        first = min((blocks[k] for k in group), key=lambda block: block.address)
        name = ", ".join((f"{first.library}+{first.place:#x}", *_main_work([blocks[k] for k in group])))
        for k in group:
            names[k] = name
    return names


def readable(symbol: str) -> str:
    """A function's name as its source has it: C++ compilers put the types of its arguments into it."""
    import cxxfilt

    try:
        return str(cxxfilt.demangle(symbol))
    except cxxfilt.Error:  # no name of C++, or this host lacks the C++ library, which knows how
        return symbol


def _nameless(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """The indices of blocks without a name, those of one function together."""
    nameless = [k for k, block in enumerate(blocks) if block.library and not block.symbol]
    nameless.sort(key=lambda k: (blocks[k].library, blocks[k].address))
    group: list[int] = []
    for k in nameless:
        if group:
            last = blocks[group[-1]]
            end = last.address + len(last.code)
            if last.library != blocks[k].library or blocks[k].address > end + _GAP:
                yield group
                group = []
        group.append(k)
    if group:
        yield group


def _main_work(blocks: Sequence[Block]) -> Iterator[str]:
    """The instruction that is executed most, of those that compute more than addresses; none in plain code."""
    counts: Counter[str] = Counter()
    hottest = max(blocks, key=lambda block: block.instructions * block.executions)
    for instruction in decode_block(hottest.code):
        if instruction.kind not in _PLAIN:
            counts[instruction.mnemonic] += 1
    yield from (mnemonic for mnemonic, _ in counts.most_common(1))
