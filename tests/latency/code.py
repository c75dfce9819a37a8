"""Code for tests, as literal encodings (Arm DDI 0487, C7.2)."""

from __future__ import annotations

import struct

NOP = 0xD503201F
ADD_X0 = 0x8B010000  # add x0, x0, x1
CMP_X0 = 0xF100041F  # cmp x0, #1
STR_X = 0xF9000062  # str x2, [x3]
STR_Q = 0x3D800060  # str q0, [x3]
LDR_D = 0xFD400060  # ldr d0, [x3]
LDR_Q = 0x3DC00060  # ldr q0, [x3]
LD2_Q = 0x4C408060  # ld2 {v0.16b, v1.16b}, [x3]
FADD_CHAIN = 0x4E21D400  # fadd v0.4s, v0.4s, v1.4s


def code(*words: int) -> bytes:
    """The bytes of instructions."""
    return struct.pack(f"<{len(words)}I", *words)


def fmla(accumulator: int) -> int:
    """fmla vN.4s, v20.4s, v21.4s"""
    return 0x4E20CC00 | 21 << 16 | 20 << 5 | accumulator


def sdot(accumulator: int) -> int:
    """sdot vN.4s, v20.16b, v21.4b[0]"""
    return 0x4F80E000 | 1 << 20 | 5 << 16 | 20 << 5 | accumulator


def smlal(accumulator: int) -> int:
    """smlal vN.8h, v20.8b, v21.8b"""
    return 0x0E208000 | 21 << 16 | 20 << 5 | accumulator


def b_ne(offset: int) -> int:
    """b.ne, `offset` instructions from itself"""
    return 0x54000001 | (offset & 0x7FFFF) << 5


def add_vector(register: int, quad: bool) -> int:
    """add vN.16b, v20.16b, v21.16b, or of 8b"""
    return 0x0E208400 | quad << 30 | 21 << 16 | 20 << 5 | register


def sadalp(accumulator: int) -> int:
    """sadalp vN.4s, v20.8h"""
    return 0x4E606800 | 20 << 5 | accumulator


def tbl(n_registers: int) -> int:
    """tbl v0.16b, {v16.16b to the n-th after}, v1.16b"""
    return 0x4E000000 | 1 << 16 | (n_registers - 1) << 13 | 16 << 5
