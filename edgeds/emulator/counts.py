"""What the counting plugin writes (see plugin.c), as a Trace with the names of functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from edgeds.emulator import elf
from edgeds.trace import Block, Lines, Slice, Trace


@dataclass(frozen=True, slots=True, order=True)
class _Mapping:
    """A part of a file in the guest's memory."""

    start: int
    end: int
    offset: int
    path: str


def read(path: Path) -> Trace:
    """The trace in the file at `path`. Raises FileNotFoundError if there is none."""
    numbers = {"regions": 0, "peak_bytes": 0, "other_threads": 0}
    mappings: list[_Mapping] = []
    blocks: list[str] = []
    parts: list[list[str]] = []
    ends_ns: list[int] = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "block":
                blocks.append(rest)
            elif kind == "map":
                mappings.append(_mapping(rest))
            elif kind == "slice":
                parts.append([])
            elif kind == "end_ns":
                ends_ns.append(int(rest))
            elif kind == "part":
                parts[-1].append(rest)
            else:
                numbers[kind] = int(rest)
    mappings.sort()
    found = dict(_blocks(blocks, mappings))
    ordered = tuple(sorted(found.values(), key=lambda block: (block.address, block.code)))
    took_us = [0.0, *((end - begin) / 1e3 for begin, end in pairwise(ends_ns))]
    slices = (
        Slice(tuple(_part(part, found) for part in one), us)
        for one, us in zip(parts, took_us[: len(parts)], strict=True)
    )
    return Trace(ordered, numbers["regions"], numbers["peak_bytes"], bool(numbers["other_threads"]), tuple(slices))


def _mapping(line: str) -> _Mapping:
    """A line of /proc/self/maps: `START-END PERMISSIONS OFFSET DEVICE INODE PATH`."""
    addresses, _, offset, _, _, path = line.split(maxsplit=5)
    start, _, end = addresses.partition("-")
    return _Mapping(int(start, 16), int(end, 16), int(offset, 16), path)


def _blocks(lines: Iterable[str], mappings: list[_Mapping]) -> Iterable[tuple[str, Block]]:
    """Each block with the number that the plugin gave it."""
    starts = [mapping.start for mapping in mappings]
    for line in lines:
        number, address_text, executions, *counters, code = line.split()
        address = int(address_text, 16)
        k = bisect_right(starts, address) - 1
        symbol, library, place = "", "", 0
        if k >= 0 and address < mappings[k].end:
            library = Path(mappings[k].path).name
            symbol, place = elf.functions(mappings[k].path).at(address - mappings[k].start + mappings[k].offset)
        yield number, Block(address, bytes.fromhex(code), int(executions), _lines(counters), symbol, library, place)


def _part(line: str, blocks: dict[str, Block]) -> Block:
    """What a block executed in one slice."""
    number, executions, *counters = line.split()
    return replace(blocks[number], executions=int(executions), lines=_lines(counters))


def _lines(counters: Iterable[str]) -> Lines:
    return Lines(*map(int, counters))  # in the order of plugin.c's enum counter
