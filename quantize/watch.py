"""Statistics of a graph's values, channel by channel, while calibration samples run through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeds.eager import batch
from edgeds.spec import Samples

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Statistics:
    """Of each channel (axis 1) of a value, over all samples: its least and greatest element, and the mean of its squares; float32 [C]."""

    low: torch.Tensor
    high: torch.Tensor
    mean_square: torch.Tensor


def channel_statistics(
    module: fx.GraphModule, samples: Samples, size: int, wanted: Iterable[fx.Node], progress: Progress
) -> dict[fx.Node, Statistics]:
    """The statistics of the wanted values, `size` samples at once."""
    found: dict[fx.Node, Statistics] = {}
    kept = set(wanted)

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in kept:
                _add(found, n, value)
            return value

    watch = Watch(module)
    with torch.no_grad():
        for first in range(0, len(samples), size):
            watch.run(*batch(samples, first, size))
            progress(min(first + size, len(samples)), len(samples))
    for statistics in found.values():
        statistics.mean_square /= -(-len(samples) // size)
    return found


def _add(found: dict[fx.Node, Statistics], node: fx.Node, value: torch.Tensor) -> None:
    across = [axis for axis in range(value.ndim) if axis != 1]
    low, high = value.amin(across), value.amax(across)
    mean_square = value.square().mean(across)
    if node not in found:
        found[node] = Statistics(low, high, mean_square)
        return
    known = found[node]
    known.low, known.high = torch.minimum(known.low, low), torch.maximum(known.high, high)
    known.mean_square += mean_square
