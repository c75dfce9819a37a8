"""The functions in an ARM64 ELF file, found by their place in the file (System V ABI, ELF-64 object file format)."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgeds.spec import Array

AARCH64 = 183  # e_machine
_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_LOAD = 1  # a segment's type
_SYMBOL_TABLES = (2, 11)  # a section's type: .symtab, which may be stripped, and .dynsym
_FUNCTIONS = (2, 10)  # a symbol's type: a function, and one that is chosen when it is loaded


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Functions of a file: `starts` and `ends` are addresses as the file has them, sorted; `segments` are (offset, bytes, address)."""

    starts: Array
    ends: Array
    names: tuple[str, ...]
    segments: tuple[tuple[int, int, int], ...]

    def at(self, offset: int) -> tuple[str, int]:
        """The name of the function at `offset` in the file, empty where none is known, and the address of that place, as the file has it."""
        for start, size, address in self.segments:
            if start <= offset < start + size:
                place = offset - start + address
                return self._named(place), place
        return "", 0

    def offset(self, name: str) -> int | None:
        """Where in the file the function called `name` begins; None where none is called so."""
        if name not in self.names:
            return None
        begin = int(self.starts[self.names.index(name)])
        found = (begin - address + start for start, size, address in self.segments if address <= begin < address + size)
        return next(found, None)

    def _named(self, address: int) -> str:
        k = int(np.searchsorted(self.starts, address, side="right")) - 1
        return self.names[k] if k >= 0 and address < self.ends[k] else ""


def machine(path: str) -> int | None:
    """Which processor a 64-bit program is for (`AARCH64` or another number); None where the file is no such program."""
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size or head[:6] != b"\x7fELF\x02\x01":
        return None
    return int(_HEADER.unpack(head)[4])


def functions(path: str) -> Functions:
    """The functions of the file at `path`; none where it is no ELF file or is gone."""
    try:
        status = os.stat(path)
        return _functions(path, status.st_mtime_ns, status.st_size)
    except (OSError, OverflowError, struct.error, ValueError, IndexError):
        return Functions(np.zeros(0), np.zeros(0), (), ())


@functools.lru_cache(maxsize=64)
def _functions(path: str, mtime_ns: int, size_bytes: int) -> Functions:
    with open(path, "rb") as file:
        return _parse(file.read())


def _parse(data: bytes) -> Functions:
    header = _HEADER.unpack_from(data)
    if header[0] != b"\x7fELF":
        raise ValueError("no ELF file")
    segments_at, sections_at, n_segments, n_sections = header[7], header[8], header[12], header[14]
    segments = [_SEGMENT.unpack_from(data, segments_at + k * _SEGMENT.size) for k in range(n_segments)]
    sections = [_SECTION.unpack_from(data, sections_at + k * _SECTION.size) for k in range(n_sections)]
    found = sorted(_symbols(data, sections))
    starts = np.array([start for start, _, _ in found], np.int64)
    # what assembly leaves without a size ends where the next begins
    following = np.append(starts[1:], starts[-1:] + 4)
    sizes = np.array([size for _, size, _ in found], np.int64)
    ends = np.where(sizes > 0, starts + sizes, following)
    loaded = tuple((offset, size, address) for kind, _, offset, address, _, size, _, _ in segments if kind == _LOAD)
    return Functions(starts, ends, tuple(name for _, _, name in found), loaded)


def _symbols(data: bytes, sections: list[tuple[int, ...]]) -> Iterator[tuple[int, int, str]]:
    """Start, size and name of each function, once an address."""
    seen: set[int] = set()
    for section in sections:
        _, kind, _, _, offset, size, link, _, _, _ = section
        if kind not in _SYMBOL_TABLES:
            continue
        names = data[sections[link][4] : sections[link][4] + sections[link][5]]
        table = np.frombuffer(data, _SYMBOL, size // _SYMBOL.itemsize, offset)
        for symbol in table[np.isin(table["info"] & 0xF, _FUNCTIONS) & (table["section"] != 0)]:
            start = int(symbol["value"])
            if start not in seen:
                seen.add(start)
                yield start, int(symbol["size"]), _text(names, int(symbol["name"]))


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode("ascii", "replace")
