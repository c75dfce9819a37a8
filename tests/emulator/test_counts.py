"""The plugin's output as a trace, and names of functions from ELF files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeds.emulator import counts, elf
from edgeds.trace import Block, Lines, Slice, Trace
from tests.emulator import programs

NOP = "1f2003d5"


def test_blocks_get_the_function_and_file_that_their_address_is_in(tmp_path: Path) -> None:
    program = programs.write(tmp_path / "a program", programs.count_down(3), "spin")
    text = (
        f"regions 2\npeak_bytes 4096\nmap 400000-401000 r--p 00001000 fe:00 77     {program}\n"
        f"block 7 400004 6 1 2 3 4 5 6 7 {NOP}{NOP}\nblock 2 400020 1 0 0 0 0 0 0 0 {NOP}\nblock 3 500000 1 0 0 0 0 0 0 0 {NOP}\n"
        "other_threads 1\nslice 0\npart 7 2 1 0 0 0 0 0 0\nend_ns 4000\n"
        "slice 1\npart 7 4 0 2 3 4 5 6 7\npart 3 1 0 0 0 0 0 0 0\nend_ns 6500\n"
    )
    (tmp_path / "counts").write_text(text)
    nop = bytes.fromhex(NOP)
    last = Block(0x500000, nop, 1, Lines(), "", "")
    assert counts.read(tmp_path / "counts") == Trace(
        (
            Block(0x400004, nop + nop, 6, Lines(1, 2, 3, 4, 5, 6, 7), "spin", "a program", programs.CODE + 4),
            Block(0x400020, nop, 1, Lines(), "", "a program"),  # behind the function's end
            last,
        ),
        2,
        4096,
        other_threads=True,
        slices=(
            Slice((Block(0x400004, nop + nop, 2, Lines(1), "spin", "a program", programs.CODE + 4),)),
            Slice(
                (
                    Block(0x400004, nop + nop, 4, Lines(0, 2, 3, 4, 5, 6, 7), "spin", "a program", programs.CODE + 4),
                    last,
                ),
                2.5,
            ),
        ),
    )


def test_a_function_s_place_in_its_file_is_found_by_name(tmp_path: Path) -> None:
    functions = elf.functions(str(programs.write(tmp_path / "program", programs.count_down(3), "spin")))
    assert functions.offset("spin") == 4096
    assert functions.offset("spun") is None


def test_functions_are_looked_up_anew_where_a_file_has_changed(tmp_path: Path) -> None:
    program = programs.write(tmp_path / "program", programs.count_down(3), "first")
    assert elf.functions(str(program)).at(4096)[0] == "first"
    programs.write(program, programs.count_down(3), "the_second")
    assert elf.functions(str(program)).at(4096)[0] == "the_second"


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + b"\xff" * 500, b"#!/bin/sh\n" * 50])
def test_what_is_no_elf_file_has_no_functions(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert elf.functions(str(tmp_path / "file")).at(0) == ("", 0)
    assert elf.machine(str(tmp_path / "file")) != elf.AARCH64


def test_a_program_s_processor_is_read(tmp_path: Path) -> None:
    assert elf.machine(str(programs.write(tmp_path / "program", programs.leave()))) == elf.AARCH64
