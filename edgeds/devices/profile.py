"""What a device is, as its TOML file says: a core, its clock, its caches, and what a line of memory costs.

Every table of numbers has a `source`: where they were looked up, or what stands in for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """How the core names itself in /proc/cpuinfo, and so which kernels a runtime chooses. Hexadecimal as the kernel prints it."""

    implementer: str
    part: str
    variant: str
    revision: int
    features: str
    source: str


@dataclass(frozen=True, slots=True)
class Clock:
    """Cycles per second while an inference runs; `together_hz` where several threads do, if the cores differ: the slowest one's."""

    hz: int
    source: str
    together_hz: int | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache of 64-byte lines. The share of it that one core may use is all of it."""

    size_bytes: int
    ways: int
    source: str


@dataclass(frozen=True, slots=True)
class Pages:
    """The unit in which the kernel places a program's memory anywhere, 4096 to 65536 bytes."""

    size_bytes: Literal[4096, 16384, 65536]
    source: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a 64-byte line costs in a stream of them. `at_hz` is the core's clock in the measurement where the cost goes by it."""

    ns: float
    source: str
    at_hz: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Costs of a 64-byte line: found in L2, in L3, read from DRAM as the next of a row or out of the blue; read and another one written, as a
    copy does; written whole, as a fill does."""

    l2: Transfer
    dram_read: Transfer
    dram_random: Transfer
    dram_copy: Transfer
    dram_fill: Transfer
    l3: Transfer | None = None


@dataclass(frozen=True, slots=True)
class CoreId:
    """A kind of core: its name (`cortex-a72`), the model of QEMU that has its instructions, entries of the second-level TLB."""

    name: str
    title: str
    qemu_cpu: str
    l2_tlb_entries: int
    source: str


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device that an estimate is for. `cores` counts the cores of the kind that is estimated: the big ones of a phone."""

    name: str
    title: str
    core: CoreId
    cores: int
    cpuinfo: CpuInfo
    clock: Clock
    pages: Pages
    l1d: Cache
    l2: Cache
    memory: Memory
    l3: Cache | None = None

    @property
    def clock_hz(self) -> int:
        """Cycles per second."""
        return self.clock.hz

    def line_ns(self, transfer: Transfer) -> float:
        """What a line costs on this device: what goes by the core's clock scales with it."""
        return transfer.ns * (transfer.at_hz or self.clock.hz) / self.clock.hz

    @property
    def l2_ns(self) -> float:
        """Nanoseconds for a line that hits L2."""
        return self.line_ns(self.memory.l2)

    @property
    def l3_ns(self) -> float:
        """Nanoseconds for a line that hits L3, 0 where there is none."""
        return self.line_ns(self.memory.l3) if self.memory.l3 else 0.0

    @property
    def dram_read_ns(self) -> float:
        """Nanoseconds for a line that is read from DRAM."""
        return self.memory.dram_read.ns

    @property
    def dram_random_ns(self) -> float:
        """Nanoseconds for a line that is read from DRAM and that no prefetcher foresees."""
        return self.memory.dram_random.ns

    @property
    def dram_copy_ns(self) -> float:
        """Nanoseconds for a line that is read from DRAM and one that is written there beside it."""
        return self.memory.dram_copy.ns

    @property
    def dram_fill_ns(self) -> float:
        """Nanoseconds for a line that is written to DRAM without another being read, and that stores need not read."""
        return self.memory.dram_fill.ns
