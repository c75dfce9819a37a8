"""What an emulated program executed: its blocks of instructions, how often each ran, and what that did to the caches.

The emulator writes it and the latency model reads it; neither knows the other. Counts are of all runs of the marked region
together; `regions` says how many those were.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lines:
    """Movements of 64-byte cache lines, of loads and stores alike (the caches allocate on write and write back).

    Every line that misses L1 is counted once, where it was found: in L2, in L3, or in DRAM. `dram_writes` are modified lines that the
    last level gave up, `l2_writes` those that L1 gave up. `random` is how many of the lines from DRAM did not follow a neighbour's
    miss, so that no prefetcher foresees them; `store_reads` how many a store asked for. `tlb_misses` counts misses of the second-level TLB.
    """

    l2_hits: int = 0
    l3_hits: int = 0
    dram_reads: int = 0
    dram_writes: int = 0
    l2_writes: int = 0
    random: int = 0
    tlb_misses: int = 0
    store_reads: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that run one after another: `code` has 4 bytes for each, little endian, as at `address` in the guest.

    `symbol` is the function that it belongs to, `library` the file that this is in (its name without folder), both empty where unknown.
    `place` is its address in that file, which its disassembly has as well; 0 where unknown.
    """

    address: int
    code: bytes
    executions: int
    lines: Lines = field(default_factory=Lines)
    symbol: str = ""
    library: str = ""
    place: int = 0

    @property
    def instructions(self) -> int:
        """How many instructions one execution is."""
        return len(self.code) // 4


@dataclass(frozen=True, slots=True)
class Slice:
    """What a part of a region executed. `emulator_us` is how long the emulator took, which says nothing about the device; 0 where unknown."""

    blocks: tuple[Block, ...]
    emulator_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Trace:
    """All blocks that ran inside the marked region, `regions` times in all. `peak_bytes` is the most that was resident in the guest.

    Where `other_threads` ran in it at once, counts were lost. `slices` are what the region was divided into, one after another, with their
    share of the counts; none where that was not asked for.
    """

    blocks: tuple[Block, ...]
    regions: int
    peak_bytes: int | None = None
    other_threads: bool = False
    slices: tuple[Slice, ...] = ()

    @property
    def instructions(self) -> int:
        """How many were executed in one region, on average, rounded."""
        total = sum(block.instructions * block.executions for block in self.blocks)
        return round(total / max(self.regions, 1))
