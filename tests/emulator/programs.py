"""ARM64 programs for Linux without a compiler: instructions as numbers (Arm DDI 0487), and the ELF file around them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

CODE, DATA = 0x40_0000, 0x1000_0000  # addresses
WARM_UP, BEGIN, END = 3, 1, 2

_GETPGID, _EXIT_GROUP, _CLOCK_GETTIME = 155, 94, 113
_SVC = 0xD400_0001
UNDEFINED = 0x0000_0000  # udf #0
FOREVER = 0x1400_0000  # b .


def mark(code: int) -> list[int]:
    """getpgid(0x51D0000 | code): four instructions."""
    return [0xD2A0_0000 | 0x51D << 5, 0xF280_0000 | code << 5, set_register(8, _GETPGID), _SVC]


def leave(status: int = 0) -> list[int]:
    return [set_register(0, status), set_register(8, _EXIT_GROUP), _SVC]


def set_register(register: int, value: int, shift: int = 0) -> int:
    """movz xREGISTER, #VALUE, lsl #SHIFT; shift is 0 or 16."""
    return 0xD280_0000 | (shift // 16) << 21 | value << 5 | register


def read_clock() -> list[int]:
    """clock_gettime with whatever is in x0 and x1: two instructions."""
    return [set_register(8, _CLOCK_GETTIME), _SVC]


def count_down(n: int) -> list[int]:
    """1 + 2 n instructions; n below 65536."""
    return [set_register(1, n), 0xF100_0421, 0x54FF_FFE1]  # subs x1, x1, #1; b.ne to it


def store_lines(n: int, stride: int = 64) -> list[int]:
    """Stores 8 bytes at DATA and every `stride` bytes after that: 2 + 3 n instructions."""
    return _step_through(n, 0xF800_0400 | stride << 12 | 2 << 5 | 31)  # str xzr, [x2], #stride


def load_lines(n: int, stride: int = 64) -> list[int]:
    """Loads 8 bytes at DATA and every `stride` bytes after that: 2 + 3 n instructions."""
    return _step_through(n, 0xF840_0400 | stride << 12 | 2 << 5 | 31)  # ldr xzr, [x2], #stride


def _step_through(n: int, access: int) -> list[int]:
    return [set_register(2, DATA >> 16, 16), set_register(1, n), access, 0xF100_0421, 0x54FF_FFC1]


def write(path: Path, code: Sequence[int], function: str = "", data_bytes: int = 4096) -> Path:
    """A static program that runs `code`; `function` is the name of all of it, where it has one."""
    text = struct.pack(f"<{len(code)}I", *code)
    names = b"\0" + function.encode() + b"\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 2, 0, 1, CODE, len(text))  # a function in section 1
    text_at = 64 + 2 * 56
    symbols_at = text_at + len(text)
    names_at = symbols_at + len(symbols)
    sections_at = names_at + len(names)
    n_sections = 4 if function else 0
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,
        1,
        1,
        0,
        2,
        183,
        1,
        CODE,
        64,
        sections_at,
        0,
        64,
        56,
        2,
        64,
        n_sections,
        0,
    )
    # what is mapped starts at the beginning of a page of the file, so the code's segment is padded to one
    padding = -text_at % 4096
    segments = struct.pack("<IIQQQQQQ", 1, 5, text_at + padding, CODE, CODE, len(text), len(text), 4096)
    segments += struct.pack("<IIQQQQQQ", 1, 6, 0, DATA, DATA, 0, data_bytes, 4096)
    shift = padding
    sections = [
        bytes(64),
        struct.pack("<IIQQQQIIQQ", 0, 1, 6, CODE, text_at + shift, len(text), 0, 0, 4, 0),
        struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, symbols_at + shift, len(symbols), 3, 1, 8, 24),
        struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at + shift, len(names), 0, 0, 1, 0),
    ]
    header = header[:40] + struct.pack("<Q", sections_at + shift) + header[48:]
    path.write_bytes(header + segments + bytes(padding) + text + symbols + names + b"".join(sections))
    path.chmod(0o755)
    return path
