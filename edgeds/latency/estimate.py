"""From what was executed to milliseconds of a named device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeds import devices
from edgeds.devices.profile import DeviceProfile
from edgeds.errors import InputError
from edgeds.latency.counts import dot_products, matrix_products
from edgeds.latency.functions import function_names, readable
from edgeds.latency.joining import joined
from edgeds.latency.loops import mispredicted_branches
from edgeds.latency.memory import Times, times, updated_share
from edgeds.latency.pipeline import block_cycles
from edgeds.latency.threads import on_threads
from edgeds.results import KernelTime, LatencyReport, Method
from edgeds.trace import Block, Trace

# The interval of a report, as factors of the estimate. Wide enough for at least nine of ten published times of ncnn on each of three
# Raspberry Pis, also where the constant that is fitted was fitted without that board (`make bench-latency`); but how wide was chosen with
# all of them in view, so that for a board, a core or a runtime that is not among them it is an extrapolation.
INTERVALS = {Method.EMULATED: (0.8, 1.25), Method.PROJECTED: (0.7, 1.6)}

_SIMULATED = (
    0.998  # of the instructions; the rest, thousands of blocks that hardly run, is taken as the average of these
)
_N_KERNELS = 20


@dataclass(frozen=True, slots=True)
class Parts:
    """What an estimate of one region and one thread is made of: the times of all blocks, and what wrongly predicted branches cost."""

    blocks: tuple[Times, ...]
    lost_ns: float


@dataclass(frozen=True, slots=True)
class _Timed:
    block: Block
    times: Times


def estimate(
    trace: Trace, device: DeviceProfile, threads: int = 1, *, subject: str = "", artifact_sha256: str = ""
) -> LatencyReport:
    """How long one region of `trace` takes on `device` with `threads` threads.

    One thread is emulated, more are projected (see edgeds.latency.threads). Raises InputError for an empty trace, for more threads
    than cores, and for instructions that the device's core does not have.
    """
    _check(trace, device, threads)
    regions = trace.regions
    per_ms = 1e6 * regions
    timed = _timed(trace.blocks, device)
    ratio = device.clock_hz / (device.clock.together_hz or device.clock_hz)
    lost = on_threads(Times(_lost_ns(trace.blocks, device), 0, 0), threads, ratio)
    split = [_Timed(one.block, on_threads(one.times, threads, ratio)) for one in timed]
    total_ms = (sum(one.times.together for one in split) + lost.core) / per_ms
    core_ms = (sum(one.times.core for one in split) + lost.core) / per_ms
    method = Method.EMULATED if threads == 1 else Method.PROJECTED
    low, high = INTERVALS[method]
    return LatencyReport(
        subject=subject,
        artifact_sha256=artifact_sha256,
        device=device.name,
        threads=threads,
        method=method,
        ms=total_ms,
        low_ms=total_ms * low,
        high_ms=total_ms * high,
        core_ms=core_ms,
        memory_ms=total_ms - core_ms,
        instructions=trace.instructions,
        dot_products=round(dot_products(trace.blocks) / regions),
        matrix_products=round(matrix_products(trace.blocks) / regions),
        kernels=_kernels(split, total_ms, per_ms),
        peak_bytes=trace.peak_bytes,
        n_regions=regions,
    )


def slice_ms(blocks: Sequence[Block], device: DeviceProfile) -> float:
    """How long a part of a region takes on `device`, with one thread; as in the whole, but for what only the whole shows."""
    if not any(block.executions for block in blocks):
        return 0.0
    return (sum(one.times.together for one in _timed(blocks, device)) + _lost_ns(blocks, device)) / 1e6


def parts(trace: Trace, device: DeviceProfile) -> Parts:
    """The parts of an estimate with one thread, for studies of what adds them up."""
    _check(trace, device, threads=1)
    n = trace.regions
    all_times = [one.times for one in _timed(trace.blocks, device)]
    return Parts(tuple(Times(t.core / n, t.l2 / n, t.dram / n) for t in all_times), _lost_ns(trace.blocks, device) / n)


def _lost_ns(blocks: Sequence[Block], device: DeviceProfile) -> float:
    """What wrongly predicted branches cost in all regions."""
    execution = devices.load_pipeline(device.core.name).pipeline
    return mispredicted_branches(blocks, execution) * execution.mispredict / device.clock_hz * 1e9


def _check(trace: Trace, device: DeviceProfile, threads: int) -> None:
    if trace.regions < 1 or not any(block.executions for block in trace.blocks):
        raise InputError(
            "the trace is empty: the program never came to its marked region; put the marks around what is to be timed"
        )
    if trace.other_threads:
        raise InputError(
            "several threads ran at once in the marked region, which loses counts; let one thread do the work, "
            "for example by the library's option for the number of threads"
        )
    if not 1 <= threads <= device.cores:
        raise InputError(f"{threads} threads do not fit on {device.name}; give 1 to {device.cores}")


def _timed(blocks: Iterable[Block], device: DeviceProfile) -> list[_Timed]:
    """The times of all blocks on one core. Few of them execute nearly everything: those are simulated."""
    ordered = sorted(joined(blocks), key=lambda block: -block.instructions * block.executions)
    total = sum(block.instructions * block.executions for block in ordered)
    cycles: list[float] = []
    n_instructions = 0
    for block in ordered:
        if n_instructions >= _SIMULATED * total:
            break
        cycles.append(block_cycles(block.code, device.core.name) * block.executions)
        n_instructions += block.instructions * block.executions
    average = sum(cycles) / n_instructions
    cycles += [average * block.instructions * block.executions for block in ordered[len(cycles) :]]
    updated = updated_share(ordered)
    return [
        _Timed(block, times(n / device.clock_hz * 1e9, block.lines, device, updated))
        for block, n in zip(ordered, cycles, strict=True)
    ]


def _kernels(timed: Sequence[_Timed], total_ms: float, per_ms: float) -> tuple[KernelTime, ...]:
    """The functions that take the most time, the longest first."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    names = function_names([one.block for one in timed])
    for one, name in zip(timed, names, strict=True):
        sums[name, one.block.library] += one.times.together
    longest = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:_N_KERNELS]
    return tuple(
        KernelTime(readable(symbol), library, ns / per_ms, ns / per_ms / total_ms) for (symbol, library), ns in longest
    )
