"""Room above what calibration saw, for values of which a sample has few.

A feature map has thousands of elements a sample: a hundred samples show its range, and a little less of it would do. Of a logit, or the mean of a
channel, a sample has one: its range in a hundred samples is exceeded in one new sample of fifty or so, and the top logit is clipped then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from edgeds.quantize.tail import has_few_elements, level_of


def values_of_few(prepared: fx.GraphModule) -> list[fx.Node]:
    """The observed values of a prepared graph of which a sample has few."""
    return [node.args[0] for node in _observers(prepared) if has_few_elements(node.args[0])]


def add_headroom(prepared: fx.GraphModule, seen: Mapping[fx.Node, torch.Tensor]) -> int:
    """Widens the ranges of a calibrated graph's observers whose values are all among `seen`; returns how many.

    `seen` has the values of all samples, float32 [N, C] each. A range reaches as far as the extremes of one sample in tail.PERIOD; an end
    at which no value was beyond 0 stays there.
    """
    observed: dict[Any, list[fx.Node]] = {}
    for node in _observers(prepared):
        observed.setdefault(getattr(prepared, str(node.target)), []).append(node.args[0])
    widened = 0
    for observer, values in observed.items():
        if hasattr(observer, "min_val") and all(value in seen for value in values):  # a fixed range has none
            _widen(observer, [seen[value] for value in values])
            widened += 1
    return widened


def _widen(observer: Any, values: list[torch.Tensor]) -> None:
    low, high = observer.min_val, observer.max_val
    for rows in values:
        if float(high) > 0:
            high = high.clamp_min(level_of(rows.amax(1)))
        if float(low) < 0:
            low = low.clamp_max(-level_of(-rows.amin(1)))
    observer.min_val, observer.max_val = low, high


def _observers(prepared: fx.GraphModule) -> list[Any]:
    """The nodes that observe an activation."""
    return [node for node in prepared.graph.nodes if node.op == "call_module" and node.args[0].op != "get_attr"]
