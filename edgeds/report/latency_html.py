"""Latencies as the HTML report of a bundle shows them: what stands in each cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeds.devices.profile import DeviceProfile
from edgeds.report.kernels import NOWHERE
from edgeds.report.latency import (
    by_time,
    float_sentences,
    gain,
    layers_sum,
    legend,
    precision_of,
    runtime_of,
)
from edgeds.report.rows import milliseconds
from edgeds.results import Benchmark, LatencyReport

MOST_KERNELS = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """One artifact in one runtime on one device. `kernels` and `layers` are rows of cells."""

    name: str
    runtime: str
    precision: str
    threads: str
    ms: str
    interval: str
    method: str
    core: str
    memory: str
    gain: str
    is_fastest: bool
    kernels: tuple[tuple[str, ...], ...]
    layers: tuple[tuple[str, ...], ...]
    layers_note: str


@dataclass(frozen=True, slots=True)
class DeviceTimings:
    """All artifacts on one device."""

    title: str
    core: str
    timings: tuple[Timing, ...]
    float_costs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Latencies:
    """The section: a table for each device, what the methods mean, and the limits that were exceeded."""

    devices: tuple[DeviceTimings, ...]
    legend: str
    violations: tuple[str, ...]


def latencies(found: Benchmark, profiles: Mapping[str, DeviceProfile]) -> Latencies:
    """`profiles` has each device of `found` by its name."""
    return Latencies(tuple(_devices(found, profiles)), legend(found), found.violations)


def _devices(found: Benchmark, profiles: Mapping[str, DeviceProfile]) -> Iterator[DeviceTimings]:
    for name in dict.fromkeys(latency.device for latency in found.latencies):
        profile = profiles[name]
        here = [latency for latency in found.latencies if latency.device == name]
        core = f"{profile.core.title}, {profile.clock_hz / 1e9:g} GHz"
        timings = tuple(_timing(latency, here) for latency in here)
        yield DeviceTimings(profile.title, core, timings, tuple(float_sentences(found, name)))


def _timing(latency: LatencyReport, here: Sequence[LatencyReport]) -> Timing:
    runtime, precision = runtime_of(latency), precision_of(latency)
    threads = f", {latency.threads} threads" if latency.threads > 1 else ""
    return Timing(
        name=f"{runtime} {precision}{threads}",
        runtime=runtime,
        precision=precision,
        threads=str(latency.threads),
        ms=milliseconds(latency.ms),
        interval=f"{milliseconds(latency.low_ms)}..{milliseconds(latency.high_ms)}",
        method=latency.method,
        core=milliseconds(latency.core_ms),
        memory=milliseconds(latency.memory_ms),
        gain=gain(latency, here),
        is_fastest=latency is by_time(here)[0],
        kernels=tuple(
            (
                f"{100 * kernel.share:.1f}",
                milliseconds(kernel.ms),
                kernel.symbol or NOWHERE,
                kernel.library,
            )
            for kernel in latency.kernels[:MOST_KERNELS]
        ),
        layers=tuple(
            (f"{100 * layer.share:.1f}", f"{layer.ms:.3f}", layer.module or layer.name, layer.operator)
            for layer in latency.layers
        ),
        layers_note=layers_sum(latency) if latency.layers else latency.layers_note,
    )
