"""Values of which a sample has few reach further than calibration saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.program import module_path
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.headroom import add_headroom, values_of_few
from edgeds.quantize.tail import level_of
from edgeds.quantize.watch import calibrate
from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples
from tests.quantize.techniques import folded, inputs, seeded

SHAPE = (1, 3, 8, 8)
CLAMPED = 1.5


def silent(done: int, total: int) -> None:
    """No progress is shown."""


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


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A graph with observers that have seen samples, and what those of its values were of which a sample has few."""

    graph: fx.GraphModule
    few: dict[fx.Node, Tensor]


@pytest.fixture
def prepared(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Calibrated:
    samples = samples_of(inputs(24, SHAPE))
    module = folded(captured(seeded(Pooled), SHAPE), samples)
    graph: fx.GraphModule = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    return Calibrated(graph, calibrate(graph, samples, 1, values_of_few(graph), silent))


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


def test_means_and_logits_reach_as_far_as_their_extremes_say(prepared: Calibrated) -> None:
    before = ranges(prepared.graph)
    assert add_headroom(prepared.graph, prepared.few) > 0
    after = ranges(prepared.graph)
    for name in ("aten.mean.dim", "aten.linear.default"):
        rows = next(rows for node, rows in reversed(prepared.few.items()) if str(node.target) == name)
        expected = -level_of(-rows.amin(1)), level_of(rows.amax(1))
        assert after[name] == pytest.approx(expected)
        assert after[name][0] < before[name][0]


def test_feature_maps_and_what_a_clamp_bounds_get_no_room(prepared: Calibrated) -> None:
    before = ranges(prepared.graph)
    add_headroom(prepared.graph, prepared.few)
    after = ranges(prepared.graph)
    for name in ("x", "aten.conv2d.default", "aten.hardtanh.default"):
        assert after[name] == before[name]
    assert after["aten.hardtanh.default"][1] == CLAMPED


def test_a_range_that_ends_at_0_stays_there(prepared: Calibrated) -> None:
    (logits,) = [node for node in prepared.few if "classifier" in module_path(node)]
    observer: Any = next(
        getattr(prepared.graph, str(node.target))
        for node in prepared.graph.graph.nodes
        if node.op == "call_module" and node.args[0] is logits
    )
    observer.min_val, observer.max_val = torch.tensor(0.0), torch.tensor(3.0)
    add_headroom(prepared.graph, {logits: torch.linspace(0, 3, 24)[:, None].expand(24, 5)})
    assert float(observer.min_val) == 0.0 and float(observer.max_val) > 3.0


def test_a_few_numbers_that_a_user_gives_get_room_too(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(24, (1, 6)))
    graph: fx.GraphModule = prepare_pt2e(
        folded(captured(seeded(lambda: nn.Linear(6, 4)), (1, 6)), samples),
        SeparableConvQuantizer(Recipe("w8c-a8t-minmax")),
    )
    assert {node.op for node in values_of_few(graph)} == {"placeholder", "call_function"}


def test_only_the_recipe_with_headroom_has_it(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    from edgeds.quantize.pt2e import quantize_program

    program, samples = captured(seeded(Pooled), SHAPE), samples_of(inputs(24, SHAPE))
    last = [
        quantize_program(program, samples, Recipe(f"w8c-a8t-minmax{more}"))[1][-1].scale[0]
        for more in ("", "+headroom")
    ]
    assert last[1] > 1.05 * last[0]
