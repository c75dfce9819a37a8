"""Milliseconds of a device, from traces whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeds import devices
from edgeds.devices.profile import DeviceProfile
from edgeds.errors import InputError
from edgeds.latency.counts import dot_products, matrix_products
from edgeds.latency.estimate import INTERVALS, estimate
from edgeds.latency.functions import function_names
from edgeds.latency.loops import mispredicted_branches
from edgeds.latency.memory import UNHIDDEN, Times, times, updated_share
from edgeds.latency.threads import EFFICIENCY
from edgeds.results import Method
from edgeds.trace import Block, Lines, Trace
from tests.latency.code import LDR_Q, NOP, STR_Q, b_ne, code, fmla, sdot

PI_4, PI_5 = devices.load("raspberry-pi-4"), devices.load("raspberry-pi-5")
EIGHT_FMLA = code(*(fmla(k) for k in range(8)))


def trace_of(*blocks: Block, regions: int = 1) -> Trace:
    return Trace(blocks, regions)


def test_a_loop_of_fmla_takes_its_cycles_by_the_clock() -> None:
    """8 fmla are 8 cycles of a Cortex-A72: a million times at 1.8 GHz is 4.444 ms."""
    report = estimate(trace_of(Block(0x1000, EIGHT_FMLA, 1_000_000)), PI_4)
    assert report.ms == report.core_ms == pytest.approx(8e6 / 1.8e9 * 1e3)
    assert report.memory_ms == 0
    assert report.instructions == 8_000_000


def test_counts_are_of_one_region() -> None:
    block = Block(0x1000, EIGHT_FMLA, 1_000_000, Lines(dram_reads=50_000))
    once = estimate(trace_of(block), PI_4)
    thrice = estimate(trace_of(replace(block, executions=3_000_000, lines=Lines(dram_reads=150_000)), regions=3), PI_4)
    assert thrice.ms == pytest.approx(once.ms)
    assert (thrice.instructions, thrice.n_regions) == (once.instructions, 3)


def test_a_stream_from_dram_takes_what_the_bandwidth_says_where_the_core_does_little() -> None:
    """A million lines of 64 bytes at 3656.9 MB/s are 17.5 ms; a share of the core's time is not hidden behind them."""
    report = estimate(trace_of(Block(0, code(LDR_Q), 1_000_000, Lines(dram_reads=1_000_000))), PI_4)
    assert report.core_ms == pytest.approx(1e6 / 1.8e9 * 1e3)
    assert report.ms == pytest.approx(17.5 + UNHIDDEN * report.core_ms)


def test_lines_cost_what_the_device_says_for_where_they_are_found() -> None:
    assert times(0, Lines(l2_hits=1), PI_5).l2 == PI_5.l2_ns
    assert times(0, Lines(l3_hits=1), PI_5).dram == PI_5.l3_ns
    assert times(0, Lines(dram_reads=3, random=1), PI_5).dram == pytest.approx(
        2 * PI_5.dram_read_ns + PI_5.dram_random_ns
    )
    assert times(0, Lines(l2_writes=1), PI_5).l2 == PI_5.l2_ns


@pytest.mark.parametrize(
    ("reads", "stored", "cost"),
    [(1, 0, PI_4.dram_read_ns), (1, 1, PI_4.dram_fill_ns), (2, 1, PI_4.dram_copy_ns)],
    ids=["read", "fill", "copy"],
)
def test_a_read_a_fill_and_a_copy_cost_what_each_was_measured_to_cost(reads: int, stored: int, cost: float) -> None:
    assert times(0, Lines(dram_reads=reads, store_reads=stored, dram_writes=stored), PI_4).dram == pytest.approx(cost)


def test_lines_that_were_read_and_then_updated_are_paid_when_they_are_written() -> None:
    """In place, a million lines are read and written: as dear as a copy, wherever the writing is counted."""
    reader, writer = Block(0, code(LDR_Q), 1, Lines(dram_reads=10)), Block(64, code(STR_Q), 1, Lines(dram_writes=10))
    updated = updated_share([reader, writer])
    assert updated == 1
    both = times(0, reader.lines, PI_4, updated).dram + times(0, writer.lines, PI_4, updated).dram
    assert both == pytest.approx(10 * PI_4.dram_copy_ns)


def test_lines_that_stores_asked_for_are_not_updated_ones() -> None:
    assert updated_share([Block(0, code(STR_Q), 1, Lines(dram_reads=8, store_reads=8, dram_writes=7))]) == 0
    assert updated_share([Block(0, code(LDR_Q), 1, Lines(dram_reads=8))]) == 0


def test_what_runs_beside_the_longer_of_core_and_lines_is_hidden_but_for_a_share() -> None:
    assert Times(10, 4, 5).together == 10 + UNHIDDEN * 9
    assert Times(1, 4, 6).together == 10 + UNHIDDEN * 1
    assert Times(1, 4, 6).memory == 9 + UNHIDDEN
    assert Times(10, 4, 5).overlapped(0) == 10 and Times(10, 4, 5).overlapped(1) == 19


def test_one_thread_is_emulated_and_more_are_projected() -> None:
    block = Block(0, EIGHT_FMLA, 1_000_000)
    one, four = estimate(trace_of(block), PI_4), estimate(trace_of(block), PI_4, threads=4)
    assert (one.method, four.method) == (Method.EMULATED, Method.PROJECTED)
    assert four.ms == pytest.approx(one.ms / (4 * EFFICIENCY))


def test_threads_share_what_dram_gives() -> None:
    block = Block(0, code(LDR_Q), 1_000_000, Lines(dram_reads=1_000_000))
    one, four = estimate(trace_of(block), PI_4), estimate(trace_of(block), PI_4, threads=4)
    assert 17.5 <= four.ms < one.ms


def test_several_threads_run_at_the_clock_of_the_slowest_core() -> None:
    """The four big cores of a Pixel 4: one at 2.84 GHz, three at 2.42 GHz."""
    pixel = devices.load("pixel-4")
    block = Block(0, EIGHT_FMLA, 1_000_000)
    assert estimate(trace_of(block), pixel).ms == pytest.approx(4e6 / 2.84e9 * 1e3)
    assert estimate(trace_of(block), pixel, threads=2).ms == pytest.approx(4e6 / 2.42e9 * 1e3 / (2 * EFFICIENCY))


def test_kernels_are_named_longest_first_and_their_shares_are_of_all_the_time() -> None:
    blocks = [
        Block(0x0, EIGHT_FMLA, 1_000, symbol="gemm", library="libx.so"),
        Block(0x100, EIGHT_FMLA, 500, symbol="gemm", library="libx.so"),
        Block(0x200, EIGHT_FMLA, 500, symbol="relu", library="libx.so"),
    ]
    report = estimate(trace_of(*blocks), PI_4)
    assert [kernel.symbol for kernel in report.kernels] == ["gemm", "relu"]
    assert [kernel.share for kernel in report.kernels] == pytest.approx([0.75, 0.25])
    assert sum(kernel.ms for kernel in report.kernels) == pytest.approx(report.ms)


def test_functions_without_a_name_are_told_apart_by_gaps_and_called_by_what_they_compute() -> None:
    blocks = [
        Block(0x1000, code(NOP, NOP), 10, library="libx.so", place=0x100),
        Block(0x1040, EIGHT_FMLA, 1_000, library="libx.so", place=0x140),  # of the same function: the gap is small
        Block(0x9000, code(*[NOP] * 8), 100, library="libx.so", place=0x8100),
    ]
    assert function_names(blocks) == ["libx.so+0x100, fmla", "libx.so+0x100, fmla", "libx.so+0x8100"]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("_ZN6tflite8Subgraph8OpInvokeERKi", "tflite::Subgraph::OpInvoke(int const&)"),
        ("_ZN4gemm3runIaLi8EEEvv.constprop.3", "void gemm::run<signed char, 8>() [clone .constprop.3]"),
        ("xnn_qs8_gemm", "xnn_qs8_gemm"),
        ("_Zed", "_Zed"),  # begins like a name of C++, and is none
    ],
)
def test_functions_of_c_plus_plus_are_called_as_in_their_source(symbol: str, name: str) -> None:
    report = estimate(trace_of(Block(0x0, EIGHT_FMLA, 1_000, symbol=symbol, library="libx.so")), PI_4)
    assert [kernel.symbol for kernel in report.kernels] == [name]


def test_blocks_that_hardly_run_are_taken_as_the_average_of_the_others() -> None:
    hot, cold = Block(0, EIGHT_FMLA, 1_000_000), Block(0x100, code(*[NOP] * 8), 1)
    assert estimate(trace_of(hot, cold), PI_4).core_ms == pytest.approx(8 * 1_000_001 / 1.8e9 * 1e3)


@pytest.mark.parametrize(("threads", "method"), [(1, Method.EMULATED), (4, Method.PROJECTED)])
def test_the_interval_is_the_stated_error_of_the_method(threads: int, method: Method) -> None:
    report = estimate(trace_of(Block(0, EIGHT_FMLA, 1_000)), PI_4, threads)
    low, high = INTERVALS[method]
    assert (report.low_ms, report.high_ms) == (report.ms * low, report.ms * high)


def test_dot_and_matrix_products_are_counted_by_their_encodings() -> None:
    vector, by_element, udot, smmla, usmmla = 0x4E829420, sdot(0), 0x6E829420, 0x4E82A420, 0x4E82AC20
    block = Block(0, code(vector, by_element, udot, smmla, usmmla, fmla(0)), 10)
    assert dot_products([block]) == 30
    assert matrix_products([block]) == 20


@pytest.mark.parametrize(("iterations", "ends"), [(8, 0), (9, 1000)])
def test_the_end_of_a_loop_is_mispredicted_where_it_is_too_long_to_be_learned(iterations: int, ends: int) -> None:
    """A Cortex-A53 learns 8 iterations."""
    execution = devices.load_pipeline("cortex-a53").pipeline
    loop = Block(0x1000, code(fmla(0), b_ne(-1)), 1000 * iterations)
    behind = Block(0x1008, code(NOP), 1000)
    assert mispredicted_branches([loop, behind], execution) == ends


def test_a_branch_ahead_is_no_loop() -> None:
    execution = devices.load_pipeline("cortex-a53").pipeline
    blocks = [Block(0x1000, code(NOP, b_ne(5)), 10_000), Block(0x1008, code(NOP), 1)]
    assert mispredicted_branches(blocks, execution) == 0


def test_a_mispredicted_branch_costs_its_cycles() -> None:
    loop, behind = Block(0x1000, code(fmla(0), b_ne(-1)), 100_000), Block(0x1008, code(NOP), 1000)
    with_end = estimate(trace_of(loop, behind), PI_4)
    without = estimate(trace_of(loop), PI_4)
    lost_ms = (with_end.ms - without.ms) * 1.8e6
    assert lost_ms == pytest.approx(1000 * 16, rel=0.2)  # and 1000 nop, which are 1500 cycles here


@pytest.mark.parametrize(
    "trace", [Trace((), 1), Trace((Block(0, EIGHT_FMLA, 5),), 0), Trace((Block(0, EIGHT_FMLA, 0),), 1)]
)
def test_an_empty_trace_is_refused_with_what_to_do(trace: Trace) -> None:
    with pytest.raises(InputError, match=r"the trace is empty.*put the marks around what is to be timed"):
        estimate(trace, PI_4)


def test_a_trace_that_lost_counts_to_other_threads_is_refused() -> None:
    trace = Trace((Block(0, EIGHT_FMLA, 5),), 1, other_threads=True)
    with pytest.raises(
        InputError, match=r"several threads ran at once in the marked region.*let one thread do the work"
    ):
        estimate(trace, PI_4)


@pytest.mark.parametrize("threads", [0, 5])
def test_more_threads_than_cores_are_refused(threads: int) -> None:
    with pytest.raises(InputError, match=f"{threads} threads do not fit on raspberry-pi-4; give 1 to 4"):
        estimate(trace_of(Block(0, EIGHT_FMLA, 1)), PI_4, threads)


@pytest.mark.parametrize("device", [devices.load(name) for name in devices.names()], ids=devices.names())
def test_every_device_can_be_estimated(device: DeviceProfile) -> None:
    assert estimate(trace_of(Block(0, EIGHT_FMLA, 1_000)), device).ms > 0
