"""What the lines of a block cost, and how that adds to the core's time.

Nearly all misses of inference are sequential, so that prefetchers see them coming: they are priced by throughput, and
overlap with the core. The few that are not cost what a core makes of several such at once. Costs of a line are a device's (see
edgeds.devices); that they scale with the lines is the roofline model (Williams, Waterman, Patterson 2009), here for each block by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeds.devices.profile import DeviceProfile
from edgeds.trace import Block, Lines

# Of the shorter one of core and memory this share is not hidden behind the other. FITTED, as the only constant of an estimate with one
# thread: one number for all boards, never to a board, a model or a row; tests/bench/latency.py fits it anew without each board.
UNHIDDEN = 0.3


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds that core, L2, and what lies behind it, are busy with a block, each by itself."""

    core: float
    l2: float
    dram: float

    @property
    def together(self) -> float:
        """How long the block takes."""
        return self.overlapped(UNHIDDEN)

    def overlapped(self, unhidden: float) -> float:
        """The same where the share `unhidden` is not hidden. L2 and DRAM take turns: what comes from DRAM passes through L2."""
        lines = self.l2 + self.dram
        return max(self.core, lines) + unhidden * min(self.core, lines)

    @property
    def memory(self) -> float:
        """What the block takes longer than the core alone."""
        return self.together - self.core


def times(core_ns: float, lines: Lines, device: DeviceProfile, updated: float = 0.0) -> Times:
    """The times of a block that takes the core `core_ns` and moves `lines`; for `updated` see `updated_share`."""
    l2 = (lines.l2_hits + lines.l2_writes) * device.l2_ns
    return Times(core_ns, l2, lines.l3_hits * device.l3_ns + _dram(lines, device, updated))


def updated_share(blocks: Iterable[Block]) -> float:
    """Which share of the lines that are written to DRAM was read before it was stored to, 0 to 1.

    The others were asked for by the store that modified them. It is the share of all blocks, as a line is written long after.
    """
    written = stored = 0
    for block in blocks:
        written += block.lines.dram_writes
        stored += block.lines.store_reads
    return max(1 - stored / written, 0.0) if written else 0.0


def _dram(lines: Lines, device: DeviceProfile, updated: float) -> float:
    """Nanoseconds. What is read and what is stored side by side costs what a copy costs, the rest what a read or a fill costs.

    A fill and a copy cost what they do until the lines are written: only lines that were read and then updated are paid when they are.
    """
    stored = lines.store_reads
    read = lines.dram_reads - stored
    copied = min(read, stored)
    streamed = copied * device.dram_copy_ns + (read - copied) * device.dram_read_ns
    streamed += (stored - copied) * device.dram_fill_ns
    unforeseen = min(lines.random, read) * (device.dram_random_ns - device.dram_read_ns)
    return streamed + unforeseen + updated * lines.dram_writes * (device.dram_copy_ns - device.dram_read_ns)
