"""Room above what calibration saw, for values of which a sample has few.

A feature map has thousands of elements a sample: a hundred samples show its range, and a little less of it would do. Of a logit, or the mean of a
channel, a sample has one: its range in a hundred samples is exceeded in one new sample of fifty or so, and the top logit is clipped then.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from edgeds.quantize.canonical.edit import shape_of
from edgeds.quantize.operators import CLAMPS

# How much further such values may reach. DS-CNN calibrated on three draws of Fashion-MNIST's training images, the noise on 600 more: 34.6, 36.2 and
# 34.6 dB with 1, 39.0, 38.8 and 38.4 with 1.1, 39.3, 38.8 and 38.7 with 1.15, 39.1, 38.6 and 38.7 with 1.2 (2026-11).
HEADROOM = 1.15


def add_headroom(prepared: fx.GraphModule) -> int:
    """Widens the ranges of a calibrated graph's observers whose values have one element a channel and sample; returns how many."""
    observed: dict[Any, list[fx.Node]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr":
            observed.setdefault(getattr(prepared, str(node.target)), []).append(node.args[0])
    chosen = [observer for observer, values in observed.items() if all(map(has_few_elements, values))]
    widened = [observer for observer in chosen if hasattr(observer, "min_val")]  # a fixed range has none
    for observer in widened:
        observer.min_val, observer.max_val = observer.min_val * HEADROOM, observer.max_val * HEADROOM
    return len(widened)


def has_few_elements(value: fx.Node) -> bool:
    """Whether a value is one of each channel; what a clamp bounds, or a user gives, needs no room."""
    shape = shape_of(value)
    return value.op != "placeholder" and value.target not in CLAMPS and len(shape) > 1 and set(shape[2:]) <= {1}
