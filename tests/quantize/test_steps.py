"""Ranges that are trained: they leave out what does not matter, and stay as they were where that is better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.quantize import steps
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.balance import ChannelFactors
from edgeds.quantize.factors import Bounds
from edgeds.quantize.steps import learn_steps
from edgeds.quantize.weighted import weighted_layers
from edgeds.recipe import Recipe
from edgeds.spec import Array, Program, Samples
from tests.quantize.techniques import folded, inputs, seeded

SHAPE = (1, 2, 6, 6)
COUNT = 32


class Deaf(nn.Module):
    """Its second layer does not hear the second channel of the first one, however loud that is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 3, 1, bias=False)
        self.first.weight.data = torch.tensor([[1.0, 0.0], [0.0, 20.0]]).view(2, 2, 1, 1)
        self.second.weight.data[:, 1] = 0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return y


Prepared = Callable[[Samples], fx.GraphModule]


@pytest.fixture
def prepared(captured: Callable[..., Program]) -> Prepared:
    """The net, calibrated on the samples."""

    def make(samples: Samples) -> fx.GraphModule:
        module = folded(captured(seeded(Deaf), SHAPE), samples)
        graph: fx.GraphModule = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
        for row in torch.from_numpy(samples.inputs[0]):
            graph(row[None])
        return graph

    return make


def between(graph: fx.GraphModule) -> tuple[float, float]:
    """The range of what the first layer gives."""
    (node,) = (n for n in graph.graph.nodes if n.op == "call_module" and str(n.args[0]) == "conv2d")
    observer = getattr(graph, str(node.target))
    return float(observer.min_val), float(observer.max_val)


def test_a_range_leaves_out_what_nothing_reads(prepared: Prepared, samples_of: Callable[..., Samples]) -> None:
    samples = samples_of(inputs(COUNT, SHAPE))
    graph = prepared(samples)
    low, high = between(graph)
    told: list[float] = []
    assert learn_steps(graph, samples, 1, lambda done, total: told.append(done / total))
    assert low < between(graph)[0] < 0 < between(graph)[1] < 0.9 * high
    assert told == sorted(told) and told[-1] == 1


def loud_at_the_end() -> Array:
    """The last quarter, which judges, has values that the others lack."""
    values = inputs(COUNT, SHAPE)
    values[:, 1] = 0
    values[-COUNT // 4 :, 0] *= 8
    return values


def test_a_range_stays_as_it_was_where_samples_that_were_not_trained_on_need_it(
    prepared: Prepared, samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(loud_at_the_end())
    graph = prepared(samples)
    before = between(graph)
    assert not learn_steps(graph, samples, 1, lambda done, total: None)
    assert between(graph) == before


def test_too_few_samples_to_judge_train_nothing(prepared: Prepared, samples_of: Callable[..., Samples]) -> None:
    samples = samples_of(inputs(3, SHAPE))
    graph = prepared(samples)
    before = between(graph)
    assert not learn_steps(graph, samples, 1, lambda done, total: None)
    assert between(graph) == before


def test_training_gives_the_same_ranges_whatever_was_drawn_before(
    prepared: Prepared, samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(COUNT, SHAPE))
    found = []
    for _ in range(2):
        graph = prepared(samples)
        torch.rand(7)
        np.random.default_rng().random(3)
        learn_steps(graph, samples, 1, lambda done, total: None)
        found.append(between(graph))
    assert found[0] == found[1]


class Gate(nn.Module):
    """Its clamp lets through 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(nn.functional.hardtanh(4 * self.first(x), 0.0, 1.0))
        return y


def test_a_range_behind_a_clamp_never_reaches_beyond_it(
    captured: Callable[..., Program], samples_of: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(inputs(COUNT, SHAPE))
    graph = prepare_pt2e(
        folded(captured(seeded(Gate), SHAPE), samples), SeparableConvQuantizer(Recipe("w8c-a8t-minmax"))
    )
    for row in torch.from_numpy(samples.inputs[0]):
        graph(row[None])
    clamped, last = (
        getattr(graph, str(node.target))
        for node in graph.graph.nodes
        if node.op == "call_module" and str(node.args[0]) in ("hardtanh", "conv2d_1")
    )
    before = float(last.min_val)
    # whatever the outputs say, all ranges are driven up
    monkeypatch.setattr(steps._Trial, "error", lambda self, learned, k: -learned.ends.sum())
    assert learn_steps(graph, samples, 1, lambda done, total: None)
    assert float(clamped.max_val) <= 1.0
    assert float(last.min_val) < before < 0


class Uneven(nn.Module):
    """The second channel between its layers is fifty times narrower than the first, and read as loudly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 3, 1, bias=False)
        self.first.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.02]]).view(2, 2, 1, 1)
        self.second.weight.data[:, 1] *= 50

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.relu(self.first(x)))
        return y


def test_channel_factors_are_learned_and_the_float_network_stays_the_same(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(COUNT, SHAPE))
    module = folded(captured(seeded(Uneven), SHAPE), samples)
    graph = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    rows = [row[None] for row in torch.from_numpy(samples.inputs[0])]
    for row in rows:
        graph(row)
    right = [graph(row) for row in rows]
    fixed = torch.zeros(3, dtype=torch.long)
    of = {"x": fixed[:2], "conv2d": torch.tensor([0, 1]), "relu": torch.tensor([0, 1]), "conv2d_1": fixed}
    bounds = Bounds(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 16.0]))
    factors = ChannelFactors(torch.ones(2), of, bounds, ())
    before = {layer.node.name: layer.weight.clone() for layer in weighted_layers(graph)}
    assert learn_steps(graph, samples, 1, lambda done, total: None, factors)
    after = {layer.node.name: layer.weight for layer in weighted_layers(graph)}
    more = after["conv2d"] / before["conv2d"]
    assert more[0, 0] == pytest.approx(1) and more[1, 1] > 1.3
    assert after["conv2d_1"][:, 1] * more[1, 1] == pytest.approx(before["conv2d_1"][:, 1])
    for row, expected in zip(rows, right, strict=True):
        torch.testing.assert_close(graph(row), expected)


def test_factors_under_which_the_float_network_computes_something_else_are_undone(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(COUNT, SHAPE))
    module = folded(captured(seeded(Uneven), SHAPE), samples)
    graph = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    for row in torch.from_numpy(samples.inputs[0]):
        graph(row[None])
    state = {name: value.clone() for name, value in graph.state_dict().items()}
    of = {
        "x": torch.tensor([0, 0]),
        "conv2d": torch.tensor([0, 1]),
        "relu": torch.tensor([0, 1]),
    }  # nothing scales the second channel back
    factors = ChannelFactors(torch.ones(2), of, Bounds(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 16.0])), ())
    assert not learn_steps(graph, samples, 1, lambda done, total: None, factors)
    assert [name for name, value in graph.state_dict().items() if not torch.equal(value, state[name])] == []


def test_few_samples_teach_no_channel_factors(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(steps.MANY - 1, SHAPE))
    graph = prepare_pt2e(
        folded(captured(seeded(Uneven), SHAPE), samples), SeparableConvQuantizer(Recipe("w8c-a8t-minmax"))
    )
    for row in torch.from_numpy(samples.inputs[0]):
        graph(row[None])
    before = [layer.weight.clone() for layer in weighted_layers(graph)]
    of = {"x": torch.tensor([0, 0]), "conv2d": torch.tensor([0, 1]), "relu": torch.tensor([0, 1])}
    bounds = Bounds(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 16.0]))
    learn_steps(graph, samples, 1, lambda done, total: None, ChannelFactors(torch.ones(2), of, bounds, ()))
    assert all(torch.equal(layer.weight, was) for layer, was in zip(weighted_layers(graph), before, strict=True))
