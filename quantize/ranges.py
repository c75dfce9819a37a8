"""The activation ranges of a calibrated graph that may move, and the graph with its activations rounded in other ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgeds.quantize.annotate import EPS
from edgeds.quantize.channels import clamp_bounds
from edgeds.quantize.operators import CLAMPS
from edgeds.quantize.tail import has_few_elements

LOW, HIGH = -128, 127
Steps = tuple[torch.Tensor, torch.Tensor]  # scale and zero point, of a tensor [1] or of its channels (axis 1) [C]


@dataclass(frozen=True, slots=True)
class Range:
    """What the tensors of one observer share: its ends, and how much further each may go, as a factor, to stay within a clamp's.

    Rounding to a wider range would not be the clamp any more, and LiteRT compute it in float. `is_given`: it is a user's input. `has_few`: of values of which a sample has few (edgeds.quantize.tail).
    """

    observer: Any
    ends: tuple[float, float]
    most: tuple[float, float]
    is_given: bool
    has_few: bool

    def put(self, low: float, high: float) -> None:
        """Moves the ends."""
        self.observer.min_val, self.observer.max_val = torch.tensor(low), torch.tensor(high)


def movable_ranges(prepared: fx.GraphModule) -> tuple[dict[str, tuple[int, str]], list[Range]]:
    """Which range the node of each observer has, and the value that it observes. Missing: ranges that are fixed."""
    observed: dict[Any, list[fx.Node]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr":
            observed.setdefault(getattr(prepared, str(node.target)), []).append(node)
    index: dict[str, tuple[int, str]] = {}
    ranges: list[Range] = []
    for observer, nodes in observed.items():
        sources: list[Any] = [node.args[0] for node in nodes]
        if hasattr(observer, "min_val"):
            index |= {str(n.target): (len(ranges), source.name) for n, source in zip(nodes, sources, strict=True)}
            ranges.append(_range(observer, sources))
    return index, ranges


def steps_of(low: torch.Tensor, high: torch.Tensor) -> Steps:
    """The steps of ranges with these ends, low <= 0 <= high, [ranges] each; the zero point is not rounded yet."""
    scale = ((high - low) / (HIGH - LOW)).clamp_min(EPS)
    return scale, LOW - low / scale


def outputs(
    prepared: fx.GraphModule, steps: Mapping[str, Steps], inputs: tuple[torch.Tensor, ...]
) -> list[torch.Tensor]:
    """The float outputs with float weights, where the observers' nodes that are named round with these steps."""
    return [y for y in tree_leaves(_Rounding(prepared, steps).run(*inputs)) if y.is_floating_point()]


def noise_to_signal(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> torch.Tensor:
    """The noise-to-signal ratios of outputs, summed up."""
    pairs = zip(found, exact, strict=True)
    return torch.stack([(y - x).square().sum() / x.square().sum().clamp_min(1e-12) for y, x in pairs]).sum()


class _Rounding(fx.Interpreter):
    def __init__(self, prepared: fx.GraphModule, steps: Mapping[str, Steps]) -> None:
        super().__init__(prepared)
        self._steps = steps

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        (x,) = args
        if target not in self._steps:
            return x
        # a learned step size: inside of the range the gradient of the rounding is 1, outside what moves is the range's end
        scale, zero_point = self._steps[target]
        if len(scale) == 1:
            return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, LOW, HIGH)
        return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, 1, LOW, HIGH)


def _range(observer: Any, sources: Sequence[fx.Node]) -> Range:
    ends = min(float(observer.min_val), 0.0), max(float(observer.max_val), 0.0)
    bounds = [clamp_bounds(source) for source in sources if source.target in CLAMPS]
    most = [min((b[k] / ends[k] for b in bounds if b[k] * ends[k] > 0), default=math.inf) for k in (0, 1)]
    is_given = any(source.op == "placeholder" for source in sources)
    return Range(observer, ends, (most[0], most[1]), is_given, any(map(has_few_elements, sources)))
