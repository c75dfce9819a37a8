"""What several threads make of the times of one. A projection: nothing of it is emulated."""

from __future__ import annotations

from edgeds.latency.memory import Times

# The share of n cores that is at work: kernels do not split into equal parts, some work is not split at all, and threads wait for each
# other. FITTED on published times with four threads, one number for all boards; tests/bench/latency.py fits it anew without each board.
EFFICIENCY = 0.7


def on_threads(one: Times, n_threads: int, clock_ratio: float = 1.0, efficiency: float = EFFICIENCY) -> Times:
    """The times of a block split among `n_threads` cores, `clock_ratio` slower ones where they differ.

    Cores and their way to L2 work side by side, DRAM is shared: one core already takes most of what it gives.
    """
    if n_threads == 1:
        return one
    return Times(one.core * clock_ratio / (efficiency * n_threads), one.l2 * clock_ratio / n_threads, one.dram)
