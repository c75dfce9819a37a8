"""Finer steps: a range is cut where what lies outside costs less than what a finer step gains.

Rounding errors are independent; what is cut off is not (all of it is too small), so its effect on the outputs is summed with its sign, to first
order: for outputs with random signs s, the error is Σ gradient · (what is cut off), and its square is the noise. Ranges that minimise the mean
squared error of the tensor itself miss that, and lose accuracy where the largest activations decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e import MinMaxObserver

from edgeds.eager import batch
from edgeds.quantize.sensitivity import SEED, gradients, spread
from edgeds.quantize.watch import Progress
from edgeds.spec import Samples

LEVELS = 255
# Of the extremes that calibration saw. Below 0.7 the first order says little.
SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


@dataclass(slots=True)
class _Group:
    """The tensors of one observer: their sensitivity, and what cutting does at the top and at the bottom, see `best_range`."""

    observer: Any
    low: float
    high: float
    sensitivity: float = 0.0
    above: list[torch.Tensor] = field(default_factory=list)
    below: list[torch.Tensor] = field(default_factory=list)


def refine_steps(prepared: fx.GraphModule, samples: Samples, size: int, progress: Progress) -> None:
    """Narrows the ranges of a calibrated graph's min/max observers, in place."""
    groups = _groups(prepared)
    signs = torch.Generator().manual_seed(SEED)
    chosen = spread(samples, size)
    for done, first in enumerate(chosen, 1):
        found = gradients(prepared, batch(samples, first, size), set(groups), signs)
        for node, (value, gradient) in found.items():
            _add(groups[node], value, gradient, len(chosen))
        progress(done, len(chosen))
    for group in {id(group): group for group in groups.values()}.values():
        if group.above:
            low, high = best_range(group.low, group.high, group.sensitivity, group.below, group.above)
            group.observer.min_val.fill_(low)
            group.observer.max_val.fill_(high)


def best_range(
    low: float, high: float, sensitivity: float, below: Sequence[torch.Tensor], above: Sequence[torch.Tensor]
) -> tuple[float, float]:
    """The range with the least noise: of its step (a twelfth of its square an element), and of what it cuts off.

    `below` and `above` have an entry [SHARES] a sample, over the root of their number: their squares add up to a mean.
    """
    shares = torch.tensor(SHARES)
    step = (high * shares.view(1, -1) - low * shares.view(-1, 1)) / LEVELS
    cut = (torch.stack(tuple(below)).unsqueeze(2) + torch.stack(tuple(above)).unsqueeze(1)).square().sum(0)
    least = int((step.square() / 12 * sensitivity + cut).argmin())
    bottom, top = divmod(least, len(SHARES))
    return low * SHARES[bottom], high * SHARES[top]


def _groups(prepared: fx.GraphModule) -> dict[fx.Node, _Group]:
    """What each observed activation shares its range with, by the node that computes it."""
    known: dict[int, _Group] = {}
    found: dict[fx.Node, _Group] = {}
    for node in prepared.graph.nodes:
        source: Any = node.args[0] if node.op == "call_module" else None
        observer: Any = getattr(prepared, str(node.target), None)
        if source is None or source.op == "get_attr" or type(observer) is not MinMaxObserver:
            continue
        low, high = min(float(observer.min_val), 0.0), max(float(observer.max_val), 0.0)
        found[source] = known.setdefault(id(observer), _Group(observer, low, high))
    return found


def _add(group: _Group, value: torch.Tensor, gradient: torch.Tensor, count: int) -> None:
    group.sensitivity += float((gradient.square() * (value != 0)).sum()) / count
    group.above.append(_cut(value, gradient, group.high) / count**0.5)
    group.below.append(_cut(value, gradient, group.low) / count**0.5)


def _cut(value: torch.Tensor, gradient: torch.Tensor, end: float) -> torch.Tensor:
    """What cutting at each share of a range's end does to the outputs, [SHARES]."""
    if end == 0:
        return torch.zeros(len(SHARES))
    outside = (value * (1 if end > 0 else -1) - abs(end) * min(SHARES)).clamp_min(0)
    few = outside > 0
    reach, slope = outside[few] + abs(end) * min(SHARES), gradient[few]
    return torch.stack([((reach - share * abs(end)).clamp_min(0) * slope).sum() for share in SHARES]) * (
        1 if end > 0 else -1
    )
