"""Values of which a sample has few reach further than calibration saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.headroom import HEADROOM, add_headroom
from edgeds.spec import Program, Recipe, Samples
from tests.quantize.techniques import folded, inputs, seeded

SHAPE = (1, 3, 8, 8)
CLAMPED = 1.5


class Pooled(nn.Module):
    """A convolution, its mean, a layer whose values are bounded, a gate, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bounded, self.gate, self.classifier = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean((2, 3), keepdim=True).flatten(1)
        x = F.hardtanh(20 * self.bounded(x), 0.0, CLAMPED) + torch.sigmoid(self.gate(x))
        y: Tensor = self.classifier(x)
        return y


@pytest.fixture
def prepared(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> fx.GraphModule:
    module = folded(captured(seeded(Pooled), SHAPE), samples_of(inputs(4, SHAPE)))
    graph: fx.GraphModule = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    for row in torch.from_numpy(inputs(24, SHAPE)):
        graph(row[None])
    return graph


def ranges(prepared: fx.GraphModule) -> dict[str, tuple[float, float]]:
    """The end points of each activation that has some, by the operator that it comes from."""
    found: dict[str, tuple[float, float]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr":
            observer: Any = getattr(prepared, str(node.target))
            if hasattr(observer, "min_val"):
                source = node.args[0]
                name = source.name if source.op == "placeholder" else str(source.target)
                found[name] = float(observer.min_val), float(observer.max_val)
    return found


def test_means_and_logits_get_room_on_both_sides(prepared: fx.GraphModule) -> None:
    before = ranges(prepared)
    assert add_headroom(prepared) > 0
    after = ranges(prepared)
    for name in ("aten.mean.dim", "aten.linear.default"):
        assert after[name] == pytest.approx(tuple(HEADROOM * end for end in before[name]))


def test_feature_maps_inputs_and_what_a_clamp_bounds_get_none(prepared: fx.GraphModule) -> None:
    before = ranges(prepared)
    add_headroom(prepared)
    after = ranges(prepared)
    for name in ("x", "aten.conv2d.default", "aten.hardtanh.default"):
        assert after[name] == before[name]
    assert after["aten.hardtanh.default"][1] == CLAMPED


def test_only_the_recipe_with_headroom_has_it(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    from edgeds.quantize.pt2e import quantize_program

    program, samples = captured(seeded(Pooled), SHAPE), samples_of(inputs(24, SHAPE))
    last = [
        quantize_program(program, samples, Recipe(f"w8c-a8t-minmax{more}"))[1][-1].scale[0]
        for more in ("", "+headroom")
    ]
    assert last[1] == pytest.approx(HEADROOM * last[0])
