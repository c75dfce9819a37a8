"""`edgeds emulate`, `edgeds devices` and `edgeds doctor`, as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeds.devices.profile import DeviceProfile
from edgeds.report.inspection import human
from edgeds.report.kernels import KernelTable
from edgeds.results import LatencyReport

EMULATION_SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first
DEVICES_SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first
DOCTOR_SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first

_N_KERNELS = 10
_N_REGIONS = 8


class Finding(Protocol):
    """What `edgeds.doctor` found out about one thing; `missing` says what to do where it is not there."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def missing(self) -> str: ...


def emulation_table(report: LatencyReport, regions: Sequence[LatencyReport], image_digest: str) -> RenderableType:
    """What a program's marked region takes on a device, each of `regions` where it has several, and its functions that take the longest."""
    memory = "" if report.peak_bytes is None else f", {report.peak_bytes / 1e6:.1f} MB resident at most"
    dot = report.dot_products + report.matrix_products
    several = len(regions) > 1
    each = [
        Text(f"{one.subject}: {_time(one)}, {human(one.instructions)} instructions") for one in regions[:_N_REGIONS]
    ]
    if rest := len(regions) - len(each):
        each.append(Text(f"{rest} more regions; --json lists them", style="dim"))
    average = f"the average of {len(regions)} regions: " if several else ""
    return Group(
        Text.assemble((report.subject, "bold"), f" on {report.device}, one thread"),
        *(each if several else ()),
        Text(f"{average}{_time(report)}"),
        Text(f"core {report.core_ms:.3g} ms, memory {report.memory_ms:.3g} ms{memory}"),
        Text(f"{human(report.instructions)} instructions, {human(dot)} dot products"),
        Text(),
        KernelTable(report.kernels[:_N_KERNELS]),
        Text(),
        Text(f"image {image_digest[:12]}", style="dim"),
    )


def emulation_json(report: LatencyReport, regions: Sequence[LatencyReport], image_digest: str) -> dict[str, Any]:
    """The same as JSON values: the average region, and each of them in `regions`."""
    each = [asdict(one) for one in regions]
    return {"schema_version": EMULATION_SCHEMA_VERSION, "image": image_digest, **asdict(report), "regions": each}


def _time(report: LatencyReport) -> str:
    return f"{report.ms:.3g} ms {report.method} ({report.low_ms:.3g} to {report.high_ms:.3g})"


def devices_table(profiles: Iterable[DeviceProfile], unestimable: Mapping[str, str]) -> RenderableType:
    """The devices that can be emulated, and those that can only be exported for, with the core that is why."""
    table = _table("device", "", "core", "GHz", "L2 kB", "L3 kB")
    for one in profiles:
        l3 = f"{one.l3.size_bytes // 1024:,}" if one.l3 else "–"
        clock = f"{one.clock_hz / 1e9:.2g}"
        table.add_row(one.name, one.title, one.core.name, clock, f"{one.l2.size_bytes // 1024:,}", l3)
    others = ", ".join(f"{name} ({core})" for name, core in unestimable.items())
    return Group(
        table, Text(f"\nto export for, but not to estimate, for no pipeline is known of their cores: {others}")
    )


def devices_json(profiles: Iterable[DeviceProfile], unestimable: Mapping[str, str]) -> dict[str, Any]:
    """All that their files say, as JSON values."""
    return {
        "schema_version": DEVICES_SCHEMA_VERSION,
        "devices": [asdict(one) for one in profiles],
        "unestimable": dict(unestimable),
    }


def doctor_table(findings: Iterable[Finding]) -> RenderableType:
    """What is there and what is missing."""
    table = _table("", "version", "")
    for one in findings:
        note = Text(f"missing: {one.missing}", style="red") if one.missing else Text(one.note)
        table.add_row(one.name, one.version, note)
    return table


def doctor_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """The same as JSON values; `missing` is empty for what is there."""
    rows = [{"name": one.name, "version": one.version, "note": one.note, "missing": one.missing} for one in findings]
    return {"schema_version": DOCTOR_SCHEMA_VERSION, "findings": rows}


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = column in ("GHz", "L2 kB", "L3 kB")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table
