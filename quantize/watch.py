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
    """Of each channel (axis 1) of a value, over all samples: its least and greatest element, and the means of it and of its square; float32 [C]."""

    low: torch.Tensor
    high: torch.Tensor
    mean: torch.Tensor
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
        statistics.mean /= -(-len(samples) // size)
        statistics.mean_square /= -(-len(samples) // size)
    return found


def calibrate(
    prepared: fx.GraphModule, samples: Samples, size: int, kept: Iterable[fx.Node], progress: Progress
) -> dict[fx.Node, torch.Tensor]:
    """Shows the samples to the observers of a graph; returns what the kept values were, a row for each sample, [N, ...] flattened."""
    rows: dict[fx.Node, list[torch.Tensor]] = {node: [] for node in kept}

    class Keep(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in rows:
                rows[n].append(value.flatten(1))
            return value

    keep = Keep(prepared)
    with torch.no_grad():
        for first in range(0, len(samples), size):
            keep.run(*batch(samples, first, size))
            progress(min(first + size, len(samples)), len(samples))
    return {node: torch.cat(values) for node, values in rows.items()}


def _add(found: dict[fx.Node, Statistics], node: fx.Node, value: torch.Tensor) -> None:
    across = [axis for axis in range(value.ndim) if axis != 1]
    low, high = value.amin(across), value.amax(across)
    mean, mean_square = value.mean(across), value.square().mean(across)
    if node not in found:
        found[node] = Statistics(low, high, mean, mean_square)
        return
    known = found[node]
    known.low, known.high = torch.minimum(known.low, low), torch.maximum(known.high, high)
    known.mean += mean
    known.mean_square += mean_square
