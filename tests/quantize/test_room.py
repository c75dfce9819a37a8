"""Feature maps get room above what calibration saw, where little is lost by it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves
from torchao.quantization.pt2e import PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgeds.quantize import room
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.ranges import movable_ranges
from edgeds.quantize.room import CHEAP, ROOM, add_room
from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples
from tests.quantize.techniques import folded, inputs, seeded

SHAPE = (1, 3, 8, 8)
CLAMPED = 0.5


class Plain(nn.Module):
    """Two feature maps, of which a clamp bounds one, and logits that are sums over many places: rounding averages out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(4 * self.first(x), 0.0, CLAMPED)
        x = F.relu(self.second(x))
        y: Tensor = self.classifier(x.mean((2, 3)))
        return y


@pytest.fixture
def samples(samples_of: Callable[..., Samples]) -> Samples:
    return samples_of(inputs(16, SHAPE))


@pytest.fixture
def prepared(captured: Callable[..., Program], samples: Samples) -> fx.GraphModule:
    module = folded(captured(seeded(Plain), SHAPE), samples)
    graph: fx.GraphModule = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    for row in torch.from_numpy(samples.inputs[0]):
        graph(row[None])
    return graph


def ends(prepared: fx.GraphModule) -> dict[str, tuple[float, float]]:
    """The ends of each range, by the value that has it."""
    index, ranges = movable_ranges(prepared)
    return {source: ranges[k].ends for k, source in index.values()}


def with_noise(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    found = iter((before, after))
    monkeypatch.setattr(room, "_noise", lambda *given: next(found))


def test_only_feature_maps_that_nothing_bounds_get_room(
    prepared: fx.GraphModule, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_noise(monkeypatch, 2e-4, 2e-4 + 0.99 * CHEAP)
    before = ends(prepared)
    assert add_room(prepared, samples, 1)
    after = ends(prepared)
    moved: dict[str, Any] = {name: after[name] for name in after if after[name] != before[name]}
    assert set(moved) == {"relu"}
    assert moved["relu"] == pytest.approx((0.0, ROOM * before["relu"][1]))
    assert after["hardtanh"][1] == CLAMPED


def test_no_room_where_it_would_cost_too_much(
    prepared: fx.GraphModule, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_noise(monkeypatch, 2e-4, 2e-4 + 1.01 * CHEAP)
    before = ends(prepared)
    assert not add_room(prepared, samples, 1)
    assert ends(prepared) == before


def test_the_noise_of_rounding_is_that_of_the_rounded_graph(prepared: fx.GraphModule, samples: Samples) -> None:
    index, ranges = movable_ranges(prepared)
    noise = room._noise(prepared, room._steps(index, torch.tensor([r.ends for r in ranges]).T), samples, 1)
    rounded = copy.deepcopy(prepared)
    for name, value in list(rounded.named_children()):
        if isinstance(value, PerChannelMinMaxObserver):
            setattr(rounded, name, nn.Identity())  # weights stay float
    rounded = convert_pt2e(rounded)
    expected = 0.0
    for row in torch.from_numpy(samples.inputs[0]):
        exact, found = (tree_leaves(graph(row[None]))[0] for graph in (prepared, rounded))
        expected += float((found - exact).square().sum() / exact.square().sum()) / len(samples)
    assert noise == pytest.approx(expected, rel=1e-3)
