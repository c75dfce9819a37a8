"""The cost of a layer against what a network with that layer alone quantized answers, computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgeds.errors import InputError
from edgeds.quantize.layer_costs import layer_costs, quantizers
from edgeds.quantize.layer_names import layer_names, named_layers
from edgeds.quantize.pt2e import quantize_program, simulated
from edgeds.recipe import Recipe
from edgeds.results import Sensitivity
from edgeds.spec import Array, Program, Samples

MINMAX = Recipe("w8c-a8t-minmax")


class Two(nn.Module):
    """A convolution with a clamp, and a linear layer, one of whose weights takes the range that the others would need."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 1)
        self.head = nn.Linear(3 * 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(torch.relu(self.stem(x)).flatten(1))
        return y


@pytest.fixture(scope="module")
def net() -> Two:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Two().eval()
    return module


@pytest.fixture(scope="module")
def samples(samples_of: Callable[..., Samples]) -> Samples:
    return samples_of(np.random.default_rng(0).normal(size=(8, 2, 2, 2)).astype(np.float32))


@pytest.fixture(scope="module")
def program(net: Two, captured: Callable[..., Program]) -> Program:
    return captured(net, (1, 2, 2, 2))


@pytest.fixture(scope="module")
def found(program: Program, samples: Samples) -> Sensitivity:
    module, _ = simulated(program, samples, MINMAX)
    return layer_costs(module, samples, 1, lambda done, total: None)


def rounded(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """An affine int8 tensor's values, range from `low` to `high` with 0 in it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero = -128 - round(low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, -128, 127) - zero) * scale


def rounded_weights(w: torch.Tensor) -> torch.Tensor:
    scale = w.abs().amax(dim=tuple(range(1, w.ndim)), keepdim=True) / 127
    return torch.round(w / scale) * scale


def db(reference: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


def test_each_layer_costs_what_it_does_when_it_alone_is_quantized(
    net: Two, samples: Samples, found: Sensitivity
) -> None:
    x = torch.from_numpy(samples.inputs[0])
    with torch.no_grad():
        inner = torch.relu(net.stem(x)).flatten(1)
        clean = net.head(inner)
        stem = torch.relu(nn.functional.conv2d(x, rounded_weights(net.stem.weight), net.stem.bias)).flatten(1)
        expected = {
            "x": db(clean, net(rounded(x, float(x.min()), float(x.max())))),
            "stem": db(clean, net.head(stem)),
            "head": db(clean, nn.functional.linear(inner, rounded_weights(net.head.weight), net.head.bias)),
        }
        values = db(clean, net.head(rounded(inner, 0.0, float(inner.max()))))
    by_name = {cost.name: cost for cost in found.layers}
    assert list(by_name) == sorted(by_name, key=lambda name: by_name[name].sqnr_db)
    assert {cost.operator for cost in found.layers} == {"input", "conv2d", "linear"}
    assert by_name["x"].activations_db == by_name["x"].sqnr_db == pytest.approx(expected["x"], abs=0.01)
    assert by_name["x"].weights_db is None
    assert by_name["stem"].weights_db == pytest.approx(expected["stem"], abs=0.01)
    assert by_name["stem"].activations_db == pytest.approx(values, abs=0.01)
    assert by_name["head"].weights_db == pytest.approx(expected["head"], abs=0.01)


def test_all_of_it_is_what_the_quantized_graph_answers(
    program: Program, samples: Samples, found: Sensitivity, evaluate: Callable[..., list[Array]]
) -> None:
    graph, _, _ = quantize_program(program, samples, MINMAX)
    clean, quantized = (torch.from_numpy(evaluate(p, samples.inputs[0])[0]) for p in (program, graph))
    assert found.whole_db == pytest.approx(db(clean, quantized), abs=0.01)
    assert found.n_samples == 8


def test_shares_are_of_the_noise_of_all_layers(found: Sensitivity) -> None:
    assert sum(cost.share for cost in found.layers) == pytest.approx(1)
    powers = [10 ** (-cost.sqnr_db / 10) for cost in found.layers]
    assert [cost.share for cost in found.layers] == pytest.approx([power / sum(powers) for power in powers])


def test_a_layer_that_loses_nothing_costs_nothing(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    net[0].weight.data = torch.tensor([[127.0, 1.0], [0.0, 127.0]])
    samples = samples_of(np.array([[1.0, 0.0], [0.0, -1.0]], np.float32))
    module, _ = simulated(captured(net, (1, 2)), samples, MINMAX)
    (_, cost) = sorted(layer_costs(module, samples, 1, lambda done, total: None).layers, key=lambda c: c.operator)
    assert (cost.operator, cost.weights_db) == ("linear", math.inf)


def test_every_layer_of_the_tiny_net_has_a_name_of_its_own(tiny: Any) -> None:
    module, _ = simulated(tiny.float_program, tiny.calibration, Recipe())
    layers = quantizers(module.graph)
    weighted = {name: layer for name, layer in layers.items() if layer.weights}
    assert set(weighted) == {"stem", "depthwise", "pointwise", "reduce", "expand", "head", "classifier", ":conv2d"}
    assert all(layer.weights and layer.activations for layer in weighted.values())  # :conv2d is hardswish's gate
    assert [name for name, layer in layers.items() if layer.operator == "input"] == ["x"]
    others = set(layers) - set(weighted) - {"x"}
    assert {name for name in others if layers[name].operator in ("add", "mean")} == {":add", ":mean", ":mean:2"}
    active = [q for layer in layers.values() for q in (*layer.weights, *layer.activations)]
    every = [n for n in module.graph.nodes if "quantize_per" in str(n.target) and "dequantize" not in str(n.target)]
    assert sorted(map(str, active)) == sorted(map(str, every))


def graph_with(*paths: str) -> fx.Graph:
    """A convolution and then a sum for each of these modules."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    for path in paths:
        x = graph.call_function(torch.ops.aten.conv2d.default, (x, x))
        x.meta["edgeds_module"] = f"{path}.conv"
        x = graph.call_function(torch.ops.aten.add.Tensor, (x, x))
        x.meta["edgeds_module"] = path
    graph.output(x)
    return graph


def test_layers_are_named_by_module_and_operations_are_counted_within_one() -> None:
    graph = graph_with("block.1", "block.10", "block.1")
    assert list(layer_names(graph).values()) == [
        "block.1.conv", "block.1:add", "block.10.conv", "block.10:add", "block.1.conv", "block.1:add:2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["block.1"], {"block.1.conv", "block.1:add", "block.1:add:2"}),
        (["block.1.conv", "block.10:add"], {"block.1.conv", "block.10:add"}),
        (["block"], {"block.1.conv", "block.1:add", "block.1:add:2", "block.10.conv", "block.10:add"}),
        ([], set()),
    ],
)
def test_a_name_is_a_layer_or_all_that_is_in_a_module(wanted: list[str], found: set[str]) -> None:
    graph = graph_with("block.1", "block.10", "block.1")
    names = layer_names(graph)
    assert {names[node] for node in named_layers(graph, wanted)} == found


def test_an_unknown_layer_is_one_line_with_near_matches() -> None:
    with pytest.raises(InputError) as raised:
        named_layers(graph_with("block.1", "block.10"), ["block.1", "blok.1.conv"])
    assert str(raised.value) == (
        "no layer is called 'blok.1.conv' (like block.1.conv, block.10.conv); `edgeds sensitivity` lists all 4"
    )
