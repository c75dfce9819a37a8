"""Programs of known instructions: what is counted of them can be said beforehand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from edgeds import devices
from edgeds.devices.profile import DeviceProfile
from edgeds.emulator import guest
from edgeds.emulator.image import Image
from edgeds.errors import ToolError
from edgeds.trace import Lines, Trace
from tests.emulator.programs import (
    BEGIN,
    END,
    FOREVER,
    UNDEFINED,
    WARM_UP,
    count_down,
    leave,
    load_lines,
    mark,
    read_clock,
    set_register,
    store_lines,
    write,
)

pytestmark = pytest.mark.emulator

PI_4 = devices.load("raspberry-pi-4")  # L1 32 kB, L2 1 MB, no L3
PI_5 = devices.load("raspberry-pi-5")  # L1 64 kB, L2 512 kB, L3 2 MB
MARK = len(mark(END))  # the mark at the end is in the region
MIB = 1 << 20

Count = Callable[..., Trace]


@pytest.fixture
def count(image: Image, tmp_path: Path) -> Count:
    def run(code: Sequence[int], device: DeviceProfile = PI_4, caches: bool = True, slices: str = "") -> Trace:
        program = write(tmp_path / "program", [*code, *leave()], "work", data_bytes=16 * MIB)
        counted = guest.count(image, device, [str(program)], caches=caches, slices=slices)
        assert (counted.finished.returncode, counted.finished.stderr) == (0, "")
        return counted.trace

    return run


def lines(trace: Trace) -> Lines:
    return Lines(**{f.name: sum(getattr(block.lines, f.name) for block in trace.blocks) for f in fields(Lines)})


@pytest.mark.parametrize("caches", [False, True])
def test_instructions_of_the_region_are_counted_and_none_else(count: Count, caches: bool) -> None:
    trace = count([*count_down(7), *mark(BEGIN), *count_down(1000), *mark(END), *count_down(7)], caches=caches)
    assert (trace.regions, trace.instructions) == (1, 1 + 2 * 1000 + MARK)
    assert {(block.symbol, block.library) for block in trace.blocks} == {("work", "program")}
    loop = next(block for block in trace.blocks if block.executions == 999)
    assert loop.code == bytes.fromhex("210400f1e1ffff54")


def test_regions_are_added_up_and_what_is_between_them_is_not(count: Count) -> None:
    trace = count(
        [*mark(BEGIN), *count_down(10), *mark(END), *count_down(50), *mark(BEGIN), *count_down(20), *mark(END)]
    )
    assert (trace.regions, trace.instructions) == (2, 1 + 2 * 15 + MARK)


def instructions_of_slices(trace: Trace) -> list[int]:
    return [sum(block.instructions * block.executions for block in one.blocks) for one in trace.slices]


def test_each_reading_of_the_clock_ends_a_slice(count: Count) -> None:
    trace = count(
        [
            *read_clock(),
            *mark(BEGIN),
            *count_down(3),
            *read_clock(),
            *store_lines(4),
            *read_clock(),
            *mark(END),
            *read_clock(),
        ],
        slices="clock",
    )
    assert instructions_of_slices(trace) == [1 + 2 * 3 + 2, 2 + 3 * 4 + 2, MARK]
    assert [sum(block.lines.dram_reads for block in one.blocks) for one in trace.slices] == [0, 4, 0]
    assert trace.instructions == sum(instructions_of_slices(trace))
    assert not trace.other_threads


def test_each_entry_of_a_function_begins_a_slice(count: Count) -> None:
    code = [*mark(BEGIN), *count_down(4), *mark(END)]
    loop = 4096 + 4 * (len(mark(BEGIN)) + 1)  # where the program's code is in its file
    trace = count(code, slices=f"{loop}:program")
    assert instructions_of_slices(trace) == [1 + 2, 2, 2, 2 + MARK]  # first from above, then by the branch
    assert instructions_of_slices(count(code, slices=f"{loop}:another")) == [1 + 2 * 4 + MARK]


def test_a_program_without_marks_has_no_regions(count: Count) -> None:
    trace = count(count_down(10))
    assert (trace.regions, trace.blocks) == (0, ())


def test_a_stream_of_stores_reads_and_writes_each_line_once(count: Count) -> None:
    n = 4 * MIB // 64 - 1
    trace = count([*mark(BEGIN), *store_lines(n), *mark(END)])
    # at the end the last lines are still in the caches, modified
    in_l1, in_l2 = 32 * 1024 // 64, MIB // 64
    assert lines(trace) == Lines(
        dram_reads=n,
        l2_writes=n - in_l1,
        dram_writes=n - in_l2,
        random=1,
        tlb_misses=4 * MIB // 4096,
        store_reads=n,
    )


def test_a_stream_of_loads_writes_nothing(count: Count) -> None:
    n = 4 * MIB // 64 - 1
    trace = count([*mark(BEGIN), *load_lines(n), *mark(END)])
    assert lines(trace) == Lines(dram_reads=n, random=1, tlb_misses=4 * MIB // 4096)


def test_what_the_warm_up_left_in_l2_is_found_there(count: Count) -> None:
    n = 256 * 1024 // 64
    trace = count([*mark(WARM_UP), *store_lines(n), *mark(BEGIN), *store_lines(n), *mark(END)])
    assert lines(trace) == Lines(l2_hits=n, l2_writes=n)


def test_pages_that_lie_anywhere_are_in_each_others_way_before_a_cache_is_full(count: Count) -> None:
    """A Cortex-A72's L1 has 2 ways of 8 KB… of four pages each: of eight pages in all, some three share a place for two."""
    n = 32 * 1024 // 64
    trace = count([*mark(WARM_UP), *load_lines(n), *mark(BEGIN), *load_lines(n), *mark(END)])
    assert 0 < lines(trace).l2_hits < n
    assert lines(trace).l2_hits % 64 == 0  # whole pages


def test_a_third_level_holds_what_the_second_cannot(count: Count) -> None:
    n = MIB // 64
    trace = count([*mark(WARM_UP), *store_lines(n), *mark(BEGIN), *store_lines(n), *mark(END)], PI_5)
    assert lines(trace) == Lines(l3_hits=n, l2_writes=n)


def test_lines_that_follow_no_neighbour_are_random(count: Count) -> None:
    trace = count([*mark(BEGIN), *store_lines(1000, stride=192), *mark(END)])
    assert (lines(trace).dram_reads, lines(trace).random) == (1000, 1000)


def test_a_line_that_stays_in_l1_moves_nothing(count: Count) -> None:
    trace = count([*mark(WARM_UP), *store_lines(8), *mark(BEGIN), *store_lines(8), *mark(END)])
    assert lines(trace) == Lines()


def test_the_peak_is_what_was_touched(count: Count) -> None:
    trace = count([*mark(BEGIN), *store_lines(2048, stride=192), *mark(END)])
    touched = 2048 * 192
    assert trace.peak_bytes is not None
    assert touched <= trace.peak_bytes <= touched + 64 * 1024


def test_a_crash_is_one_line(count: Count) -> None:
    with pytest.raises(ToolError, match=r"^program on raspberry-pi-4 crashed with SIGILL: .*Illegal instruction"):
        count([*mark(BEGIN), UNDEFINED])


def test_a_program_that_hangs_is_ended(image: Image, tmp_path: Path) -> None:
    program = write(tmp_path / "program", [FOREVER])
    with pytest.raises(ToolError, match=r"^program on raspberry-pi-4 was ended after its time limit of 0\.5 s: "):
        guest.count(image, PI_4, [str(program)], timeout_s=0.5)


def test_a_program_s_exit_code_is_kept(image: Image, tmp_path: Path) -> None:
    program = write(tmp_path / "program", [set_register(1, 0), *leave(7)])
    assert guest.start(image, PI_4, [str(program)]).returncode == 7


def test_python_sees_the_device_and_nothing_of_the_host(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LEAK", "1")
    script = "import os, platform, sys; print(platform.machine(), sorted(os.environ), hash('a'), sys.path)"
    done = guest.start(image, PI_4, guest.python(image, "-c", script))
    again = guest.start(image, PI_4, guest.python(image, "-c", script))
    machine, rest = done.stdout.split(maxsplit=1)
    assert (machine, done.stdout) == ("aarch64", again.stdout)
    assert "LEAK" not in rest and str(tmp_path) not in rest and sys.prefix not in rest
