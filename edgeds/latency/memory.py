"""What the lines of a block cost, and how that adds to the core's time.

Nearly all misses of inference are sequential, so that prefetchers see them coming: they are priced by throughput, and
overlap with the core. The few that are not cost what a core makes of several such at once. Costs of a line are a device's (see edgeds.devices); that they scale with the lines is the roofline model
(Williams, Waterman, Patterson 2009), here for each block by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeds.devices.profile import DeviceProfile
from edgeds.trace import Lines

# Of what runs beside the longest of core, L2 and DRAM this share is not hidden. FITTED, as the only constant of the model: one number
# for all boards (the mean error over published single-thread times is flat from 0.15 to 0.25), never to a board, a model or a row.
UNHIDDEN = 0.2


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds that core, L2, and what lies behind it, are busy with a block, each by itself."""

    core: float
    l2: float
    dram: float

    @property
    def together(self) -> float:
        """How long the block takes."""
        longest = max(self.core, self.l2, self.dram)
        return longest + UNHIDDEN * (self.core + self.l2 + self.dram - longest)

    @property
    def memory(self) -> float:
        """What the block takes longer than the core alone."""
        return self.together - self.core


def times(core_ns: float, lines: Lines, device: DeviceProfile) -> Times:
    """The times of a block that takes the core `core_ns` and moves `lines`. A line that a store misses is read first."""
    foreseen = max(lines.dram_reads - lines.random, 0)
    dram = (
        foreseen * device.dram_read_ns + lines.random * device.dram_random_ns + lines.dram_writes * device.dram_write_ns
    )
    return Times(core_ns, lines.l2_hits * device.l2_ns, dram + lines.l3_hits * device.l3_ns)
