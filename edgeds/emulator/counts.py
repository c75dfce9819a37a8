"""What the counting plugin writes (see plugin.c), as a Trace with the names of functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeds.emulator import elf
from edgeds.trace import Block, Lines, Trace


@dataclass(frozen=True, slots=True, order=True)
class _Mapping:
    """A part of a file in the guest's memory."""

    start: int
    end: int
    offset: int
    path: str


def read(path: Path) -> Trace:
    """The trace in the file at `path`. Raises FileNotFoundError if there is none."""
    numbers = {"regions": 0, "peak_bytes": 0}
    mappings: list[_Mapping] = []
    blocks: list[str] = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "block":
                blocks.append(rest)
            elif kind == "map":
                mappings.append(_mapping(rest))
            else:
                numbers[kind] = int(rest)
    mappings.sort()
    found = tuple(sorted(_blocks(blocks, mappings), key=lambda block: (block.address, block.code)))
    return Trace(found, numbers["regions"], numbers["peak_bytes"])


def _mapping(line: str) -> _Mapping:
    """A line of /proc/self/maps: `START-END PERMISSIONS OFFSET DEVICE INODE PATH`."""
    addresses, _, offset, _, _, path = line.split(maxsplit=5)
    start, _, end = addresses.partition("-")
    return _Mapping(int(start, 16), int(end, 16), int(offset, 16), path)


def _blocks(lines: Iterable[str], mappings: list[_Mapping]) -> Iterable[Block]:
    starts = [mapping.start for mapping in mappings]
    for line in lines:
        address_text, executions, *counters, code = line.split()
        address = int(address_text, 16)
        lines_moved = Lines(*map(int, counters))  # in the order of plugin.c's enum counter
        k = bisect_right(starts, address) - 1
        symbol = library = ""
        if k >= 0 and address < mappings[k].end:
            library = Path(mappings[k].path).name
            symbol = elf.functions(mappings[k].path).at(address - mappings[k].start + mappings[k].offset)
        yield Block(address, bytes.fromhex(code), int(executions), lines_moved, symbol, library)
