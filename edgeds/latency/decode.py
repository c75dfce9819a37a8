"""Instructions of AArch64 as a pipeline sees them: what kind, which registers, how wide. Capstone disassembles, the names are Arm's.

Registers are numbers: 0 to 30 general ones, 31 the stack pointer, 32 to 63 vector registers, 64 the flags.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeds.latency import mnemonics
from edgeds.latency.mnemonics import Kind

FLAGS = 64
_STACK = 31
_VECTORS = 32

_REGISTER = re.compile(r"\b(?:([xw])(\d+|zr)|(w?sp)|([vqdshb])(\d+))\b")
_QUAD = re.compile(r"\.(?:16b|8h|4s|2d)\b|\bq\d")
_OPERANDS = re.compile(r",\s*(?![^{\[]*[}\]])")
_LANE = re.compile(r"\}\[\d+\]")
_BYTES = {"x": 8, "w": 4, "q": 16, "d": 8, "s": 4, "h": 2, "b": 1}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `accumulator` is a register that it adds to, and `merged` one of which it leaves the other lanes as they were:
    it reads both late. `base` is an address that it updates.

    `quad` is true where it writes or stores 128-bit registers. `moved_bytes` and `moved_registers` count what a load or store moves;
    `moved_bytes` also a table that is looked up.
    """

    kind: Kind
    mnemonic: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    accumulator: int | None = None
    merged: int | None = None
    base: int | None = None
    quad: bool = False
    moved_bytes: int = 0
    moved_registers: int = 0


def is_vector(register: int) -> bool:
    """Whether `register` is a vector register."""
    return _VECTORS <= register < FLAGS


def decode_block(code: bytes) -> tuple[Instruction, ...]:
    """The instructions in `code`, 4 bytes each."""
    return tuple(decode(int.from_bytes(code[at : at + 4], "little")) for at in range(0, len(code), 4))


@functools.lru_cache(maxsize=1 << 16)
def decode(word: int) -> Instruction:
    """The instruction that `word` encodes. One that Capstone does not know is placed by the groups of Arm's encoding tables."""
    for _, _, mnemonic, operands in _disassembler().disasm_lite(word.to_bytes(4, "little"), 0, 1):
        return parse(mnemonic, operands)
    return _by_group(word)


@functools.cache
def _disassembler() -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


def parse(mnemonic: str, text: str) -> Instruction:
    """The instruction that Capstone writes as `mnemonic` and `text`."""
    if mnemonic in mnemonics.BRANCHES or mnemonic.startswith("b."):
        flags = (FLAGS,) if mnemonic.startswith("b.") else ()
        return Instruction(Kind.BRANCH, mnemonic, (*_registers(text), *flags), ())
    if mnemonic in mnemonics.SYSTEM or mnemonic.startswith(mnemonics.ATOMIC_PREFIXES):
        return Instruction(Kind.SYSTEM, mnemonic, tuple(_registers(text)), ())
    if mnemonic in mnemonics.HINTS:
        return Instruction(Kind.NOP, mnemonic, (), ())
    if "[x" in text or "[sp" in text:
        return _memory(mnemonic, text)
    if re.search(r"\b[vqdshb]\d", text):
        return _vector(mnemonic, text)
    return _integer(mnemonic, text)


def _registers(text: str) -> Iterator[int]:
    for size, number, stack, _, vector in _REGISTER.findall(text):
        if vector:
            yield _VECTORS + int(vector)
        elif stack:
            yield _STACK
        elif size and number != "zr":
            yield int(number)


def _memory(mnemonic: str, text: str) -> Instruction:
    moved, _, rest = text.partition("[x" if "[x" in text else "[sp")
    address, _, after = rest.partition("]")
    addresses = tuple(_registers(("x" if "[x" in text else "sp") + address))
    updated = addresses[0] if after else None
    values = tuple(_registers(moved))
    reads = (*addresses, *_registers(after))
    if mnemonic.startswith("prf"):
        return Instruction(Kind.PREFETCH, mnemonic, reads, ())
    kind = _memory_kind(mnemonic, moved)
    store = mnemonic.startswith("st")
    return Instruction(
        kind,
        mnemonic,
        reads=(*reads, *values) if store else reads,
        writes=() if store else values,
        merged=values[0] if _LANE.search(moved) and not store else None,
        base=updated,
        quad=bool(_QUAD.search(moved)),
        moved_bytes=_moved_bytes(moved),
        moved_registers=max(len(values), 1),
    )


def _memory_kind(mnemonic: str, moved: str) -> Kind:
    store = mnemonic.startswith("st")
    if not re.search(r"\b[vqdshb]\d", moved):
        return Kind.STORE if store else Kind.LOAD
    if mnemonic[2:3] in "234":
        return Kind.STORE_INTERLEAVED if store else Kind.LOAD_INTERLEAVED
    if store:
        return Kind.STORE_VECTOR
    return Kind.LOAD_LANE if _LANE.search(moved) or mnemonic == "ld1r" else Kind.LOAD_VECTOR


def _moved_bytes(moved: str) -> int:
    total = 0
    for size, number, _, vector, _ in _REGISTER.findall(moved):
        if vector == "v":
            total += 16 if _QUAD.search(moved) else 8
        elif vector or number:
            total += _BYTES[vector or size]
    return total


def _integer(mnemonic: str, text: str) -> Instruction:
    first, *others = _OPERANDS.split(text)
    writes, reads = tuple(_registers(first)), tuple(r for other in others for r in _registers(other))
    if mnemonic in mnemonics.COMPARES:
        writes, reads = (FLAGS,), (*writes, *reads)
    elif mnemonic in mnemonics.SETS_FLAGS:
        writes = (*writes, FLAGS)
    elif mnemonic == "movk" or mnemonic in mnemonics.READS_DESTINATION:
        reads = (*reads, *writes)
    if mnemonic in mnemonics.READS_FLAGS:
        reads = (*reads, FLAGS)
    kind = mnemonics.integer_kind(mnemonic, text)
    accumulator = None
    if mnemonic in mnemonics.INTEGER_ACCUMULATES and len(others) == 3:
        *_, accumulator = (None, *_registers(others[2]))
    return Instruction(kind, mnemonic, reads, writes, accumulator)


def _vector(mnemonic: str, text: str) -> Instruction:
    first, *others = _OPERANDS.split(text)
    writes, reads = tuple(_registers(first)), tuple(r for other in others for r in _registers(other))
    kind = mnemonics.vector_kind(mnemonic, first, text)
    accumulator = merged = None
    if mnemonic in ("fmadd", "fmsub", "fnmadd", "fnmsub"):
        accumulator = reads[-1]
    elif mnemonic.removesuffix("2") in mnemonics.ACCUMULATES:
        accumulator, reads = writes[0], (*reads, writes[0])
    elif "[" in first and writes[0] >= _VECTORS:
        merged = writes[0]
    elif mnemonic in mnemonics.READS_DESTINATION:
        reads = (*reads, *writes)
    if mnemonic in mnemonics.COMPARES:
        writes, reads = (FLAGS,), (*writes, *reads)
    if mnemonic in mnemonics.READS_FLAGS:
        reads = (*reads, FLAGS)
    quad = bool(_QUAD.search(first)) and not mnemonics.is_narrowing(mnemonic, kind)
    table_bytes = _moved_bytes(others[0]) if kind is Kind.TABLE else 0
    return Instruction(kind, mnemonic, reads, writes, accumulator, merged, quad=quad, moved_bytes=table_bytes)


def _by_group(word: int) -> Instruction:
    """Arm DDI 0487, C4.1: bits 28 to 25 say the group; Rd, Rn and Rm are where they mostly are."""
    group = word >> 25 & 0xF
    rd, rn, rm = word & 31, word >> 5 & 31, word >> 16 & 31
    if group in (0b0111, 0b1111):
        return Instruction(Kind.VECTOR, "", (_VECTORS + rn, _VECTORS + rm), (_VECTORS + rd,), quad=bool(word >> 30 & 1))
    if group & 0b0101 == 0b0100:
        return Instruction(Kind.LOAD, "", (rn,), (rd,), moved_bytes=8, moved_registers=1)
    if group in (0b1010, 0b1011):
        return Instruction(Kind.BRANCH, "", (), ())
    return Instruction(Kind.ALU if group & 0b1000 or group == 0b0101 else Kind.NOP, "", (rn,), (rd,))
