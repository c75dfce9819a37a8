"""The report of `edgeds bench`: latencies by device, what int8 gains, and which functions take the time. Nothing is printed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeds.devices.profile import DeviceProfile
from edgeds.folders import shown
from edgeds.report.kernels import KernelTable
from edgeds.report.rows import NONE, TIMES, milliseconds
from edgeds.results import Benchmark, LatencyReport
from edgeds.spec import DriftReport, Precision

# What `latency` in the JSON report was, also as a bundle's latency.json: 1 = edgeds 0.1.
SCHEMA_VERSION = 1
# Below this many columns of the terminal, how the time divides is left out.
WIDE = 100
_N_KERNELS = 8


def latency_json(found: Benchmark) -> dict[str, Any]:
    """The report under the names of edgeds.spec, ready for json.dumps (infinity is "Infinity")."""
    from pydantic_core import to_json

    content: dict[str, Any] = json.loads(to_json(found, inf_nan_mode="strings"))
    return {"schema_version": SCHEMA_VERSION, **content}


def latency_report(found: Benchmark, devices: Sequence[DeviceProfile], kernels: bool = False) -> list[RenderableType]:
    """What to print, from top to bottom: a table for each device, its fastest artifact, and `kernels` where they are wanted."""
    parts: list[RenderableType] = []
    for device in devices:
        latencies = [latency for latency in found.latencies if latency.device == device.name]
        parts.append(_DeviceTable(device, latencies, found.drift[device.name]))
        parts.append(Padding(_fastest(latencies), (0, 0, 1, 0)))
        parts += [Padding(Text(sentence), (0, 0, 1, 0)) for sentence in float_sentences(found, device.name)]
        if kernels:
            parts += [Padding(_kernel_table(latency), (0, 0, 1, 2)) for latency in latencies]
        told = [latency for latency in latencies if latency.threads == 1 and (latency.layers or latency.layers_note)]
        parts += [Padding(_layer_table(latency), (0, 0, 1, 2)) for latency in told]
    parts += [Text(f"limit exceeded: {shown(violation)}", style="red") for violation in found.violations]
    parts.append(Text(legend(found), style="dim"))
    return parts


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a device's table. One that is `wide` is left out of a narrow terminal."""

    heading: str
    cell: Callable[[LatencyReport], str]
    right: bool = True
    wide: bool = False


@dataclass(frozen=True, slots=True)
class _DeviceTable:
    """Each artifact in each runtime on one device, with as many columns as fit."""

    device: DeviceProfile
    latencies: Sequence[LatencyReport]
    drift: Sequence[DriftReport]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        device = self.device
        yield Text.assemble((device.title, "bold"), f" · {device.core.title}, {device.clock_hz / 1e9:g} GHz")
        columns = [column for column in self._columns() if options.max_width >= WIDE or not column.wide]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.heading, justify="right" if column.right else "left", no_wrap=True)
        best = by_time(self.latencies)[0]
        for latency in self.latencies:
            cells = [Text(column.cell(latency)) for column in columns]
            table.add_row(*cells, style="green" if latency is best else "")
        yield table

    def _columns(self) -> Iterator[_Column]:
        yield _Column("\nruntime", runtime_of, right=False)
        yield _Column("\ntype", precision_of, right=False)
        if any(latency.threads > 1 for latency in self.latencies):
            yield _Column("thr-\neads", lambda latency: str(latency.threads))
        yield _Column("\nms", lambda latency: milliseconds(latency.ms))
        yield _Column("\nlow..high", lambda latency: f"{milliseconds(latency.low_ms)}..{milliseconds(latency.high_ms)}")
        yield _Column("\nmethod", lambda latency: latency.method, right=False)
        yield _Column("core\nms", lambda latency: milliseconds(latency.core_ms), wide=True)
        yield _Column("mem.\nms", lambda latency: milliseconds(latency.memory_ms), wide=True)
        yield _Column("vs\nfp32", lambda latency: gain(latency, self.latencies))
        yield _Column(
            "dot products\nM", lambda latency: _millions(latency.dot_products + latency.matrix_products), wide=True
        )
        yield _Column("peak\nMB", _megabytes)
        yield _Column("SQNR\ndB", lambda latency: _sqnr(latency, self.drift))


def _fastest(latencies: Sequence[LatencyReport]) -> Text:
    best = by_time(latencies)[0]
    interval = f"{milliseconds(best.low_ms)} to {milliseconds(best.high_ms)}"
    threads = f", {best.threads} threads" if best.threads > 1 else ""
    text = f"fastest: {runtime_of(best)} {precision_of(best)}{threads}, {milliseconds(best.ms)} ms ({interval}), {best.method}"
    others = [other for other in by_time(latencies) if other.threads == best.threads and other is not best]
    if near := [other for other in others if other.ms <= best.high_ms]:
        text += f"; within its error: {', '.join(f'{runtime_of(other)} {precision_of(other)}' for other in near)}"
    return Text(text)


def _kernel_table(latency: LatencyReport) -> RenderableType:
    threads = f", {latency.threads} threads" if latency.threads > 1 else ""
    title = f"{runtime_of(latency)} {precision_of(latency)}{threads}: where the time goes"
    return KernelTable(latency.kernels[:_N_KERNELS], title)


def _layer_table(latency: LatencyReport) -> RenderableType:
    """Every operator in its order, and what they take together; or why there are none."""
    if not latency.layers:
        return Text(f"{runtime_of(latency)} {precision_of(latency)}: no times of layers: {shown(latency.layers_note)}")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    title = Text(f"{runtime_of(latency)} {precision_of(latency)}: layer by layer", style="bold")
    for justify in ("right", "right", "left", "left"):
        table.add_column(justify=justify, no_wrap=justify == "right", overflow="fold")
    for layer in latency.layers:
        name = Text(shown(layer.module)) if layer.module else Text(shown(layer.name), style="dim")
        table.add_row(f"{100 * layer.share:.1f} %", f"{layer.ms:.3f} ms", name, Text(shown(layer.operator)))
    return Group(title, table, Text(layers_sum(latency), style="dim"))


def layers_sum(latency: LatencyReport) -> str:
    """What all layers take together, in the run that tells them apart, against the one that is timed."""
    together = sum(layer.ms for layer in latency.layers)
    note = f"; {shown(latency.layers_note)}" if latency.layers_note else ""
    return f"together {milliseconds(together)} ms, the run that is timed {milliseconds(latency.ms)} ms{note}"


def legend(found: Benchmark) -> str:
    """What the methods and the interval are, and with what was emulated."""
    methods = "emulated: from the instructions and cache lines that the runtime itself executed on the emulated device"
    if any(latency.threads > 1 for latency in found.latencies):
        methods += "; projected: by a rule from one thread"
    n_inputs = min((report.n_inputs for reports in found.drift.values() for report in reports), default=0)
    return (
        f"{methods}. low..high: the error on published times of ncnn on three Raspberry Pis, on which it was also chosen. "
        f"SQNR: against the float model, of {n_inputs} samples. image {found.image_digest[:12]}"
    )


def float_sentences(found: Benchmark, device: str) -> Iterator[str]:
    """What layers in float gain and cost on `device`, a sentence for each runtime."""
    for cost in found.float_costs:
        if cost.device == device:
            gained, share = cost.sqnr_db - cost.whole_sqnr_db, 100 * (cost.ms / cost.whole_ms - 1)
            yield (
                f"layers in float, {cost.subject.partition('@')[2]}: {gained:+.1f} dB ({cost.sqnr_db:.1f}, all in int8 "
                f"{cost.whole_sqnr_db:.1f}) for {cost.ms - cost.whole_ms:+.2f} ms ({milliseconds(cost.ms)}, all in int8 "
                f"{milliseconds(cost.whole_ms)}; {share:+.0f} %)"
            )


def by_time(latencies: Sequence[LatencyReport]) -> list[LatencyReport]:
    """The fastest first."""
    return sorted(latencies, key=lambda latency: latency.ms)


def runtime_of(latency: LatencyReport) -> str:
    """Of `onnx-int8@onnxruntime` what stands behind the @."""
    return latency.subject.partition("@")[2]


def precision_of(latency: LatencyReport) -> str:
    """Of `onnx-int8@onnxruntime` what stands before the @, behind the format."""
    return latency.subject.partition("@")[0].rpartition("-")[2]


def gain(latency: LatencyReport, latencies: Sequence[LatencyReport]) -> str:
    """How many times faster than the same runtime in fp32."""
    floats = (
        other.ms
        for other in latencies
        if precision_of(other) == Precision.FP32
        and (runtime_of(other), other.threads) == (runtime_of(latency), latency.threads)
    )
    base = next(floats, None)
    return f"{base / latency.ms:.2f}{TIMES}" if base and precision_of(latency) == Precision.INT8 else NONE


def _sqnr(latency: LatencyReport, drift: Sequence[DriftReport]) -> str:
    found: Iterator[float] = (
        report.sqnr_db for report in drift if (report.subject, report.reference) == (latency.subject, "float")
    )
    return f"{next(found):.1f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}" if count else NONE


def _megabytes(latency: LatencyReport) -> str:
    return NONE if latency.peak_bytes is None else f"{latency.peak_bytes / 1e6:.0f}"
