"""Cycles of a block of instructions on a core, executed over and over: the steady state of a simulation."""

from __future__ import annotations

import functools

from edgeds import devices
from edgeds.latency import cores
from edgeds.latency.decode import decode_block
from edgeds.latency.operations import operations, port_names

_EQUAL = 3  # repetitions of the same length, one after another, are the steady state
_MIN_REPETITIONS = 8
_MAX_INSTRUCTIONS = 400


@functools.lru_cache(maxsize=1 << 14)
def block_cycles(code: bytes, core: str) -> float:
    """Cycles for one execution of `code` in a long row of them, every load a hit in L1. `core` is one of devices.loader.cores()."""
    pipeline = devices.load_pipeline(core)
    block = operations(decode_block(code), pipeline)
    simulate = cores.in_order if pipeline.pipeline.order == "in" else cores.out_of_order
    repetitions = simulate(block, pipeline.pipeline, len(port_names(pipeline)))
    n_most = max(_MIN_REPETITIONS, _MAX_INSTRUCTIONS // max(len(block), 1))
    ends = [next(repetitions)]
    while len(ends) < n_most:
        ends.append(next(repetitions))
        lengths = [ends[k] - ends[k - 1] for k in range(max(1, len(ends) - _EQUAL), len(ends))]
        if len(lengths) == _EQUAL and len(set(lengths)) == 1 and len(ends) * len(block) > pipeline.pipeline.window:
            return float(lengths[0])
    half = len(ends) // 2
    return (ends[-1] - ends[half - 1]) / (len(ends) - half)
