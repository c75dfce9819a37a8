"""Values that are chosen from several: TFLite's converter gives all of them the scale of the first one, unless the graph says theirs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeds.export import tflite
from edgeds.export.own_dequantizes import own_dequantizes
from edgeds.program import output_nodes, references
from edgeds.quantize.parameters import output_scales
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.spec import Array, Precision, Program, Runtime, Samples

SHAPE = (1, 3, 8, 8)


class Masks(nn.Module):
    """One output for each way to choose between values of different ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.small = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 4, 1)
        self.small.weight.data *= 0.01

    def forward(self, x: torch.Tensor) -> Any:
        y, wide, small = F.relu(self.a(x)), 4 * self.b(x) - 1, self.small(x)
        number = torch.where(x[:, :1] > 0.5, y, -0.25)
        tensor = torch.where((y > 0.5) & (y < 1.5), torch.zeros_like(y) - 0.25, y)
        filled = y.masked_fill(x[:, 1:2] < x[:, 2:], -0.5)
        least = torch.minimum(y, wide)
        stacked = torch.stack([y, wide], 1).flatten(1, 2)
        signs = torch.where(small > 0, small, -0.01)
        return (
            self.head(number),
            self.head(tensor),
            self.head(filled),
            self.head(least),
            stacked,
            signs,
            self.head(F.mish(wide)),
        )


@pytest.fixture(scope="module")
def inputs() -> Array:
    return np.random.default_rng(0).normal(size=(4, *SHAPE[1:])).astype(np.float32)


@pytest.fixture(scope="module")
def graph(captured: Callable[..., Program], samples_of: Callable[..., Samples], inputs: Array) -> Program:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Masks()
    return quantize_program(captured(net, SHAPE), samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]


def test_every_value_that_is_chosen_from_several_has_the_scale_of_them_all(graph: Program) -> None:
    by_name = {node.name: node for node in graph.nodes}
    readers = {name: node for node in graph.nodes for name in references(node.args)}
    joins = [node for node in graph.nodes if node.target in ("aten.where.self", "aten.minimum.default")]
    assert len(joins) == 5
    for node in joins:
        values = [name for name in references(node.args) if by_name[name].dtype == "float32"]
        assert len(values) == 2
        scales = {tuple(by_name[name].args[1:3]) for name in values} | {tuple(readers[node.name].args[1:3])}
        assert len(scales) == 1


def test_tflite_chooses_as_pytorch_does(
    graph: Program,
    inputs: Array,
    samples_of: Callable[..., Samples],
    evaluate: Callable[..., list[Array]],
    tmp_path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter warns of its own deprecations
        artifact = tflite.export(graph, Precision.INT8, tmp_path / "masks.tflite")
    found = host.run(artifact, artifact.path, Runtime.LITERT, (inputs,)).outputs
    expected = evaluate(graph, inputs)
    scales = output_scales(graph)
    assert all(scales)
    steps = [np.abs(a - b) / s for a, b, s in zip(found, expected, scales, strict=True)]
    # where a layer rounds otherwise, a mask of its value may turn around: few; a mask of the input never
    assert max(float((one > 1.01).mean()) for one in steps) < 0.01
    assert max(float(one.max()) for one in (steps[0], steps[2])) <= 1.01


def test_each_reader_of_a_quantized_value_has_its_own_dequantize(
    graph: Program, inputs: Array, evaluate: Callable[..., list[Array]]
) -> None:
    def reads(program: Program) -> list[str]:
        kinds = {node.name: node.target for node in program.nodes}
        return [
            n
            for node in program.nodes
            for n in references(node.args)
            if kinds[n].endswith("dequantize_per_tensor.default")
        ]

    own = own_dequantizes(graph)
    assert len(set(reads(graph))) < len(reads(graph)) == len(reads(own)) == len(set(reads(own)))
    for a, b in zip(evaluate(graph, inputs), evaluate(own, inputs), strict=True):
        assert np.array_equal(a, b)
    assert len({node.name for node in output_nodes(own)}) == len(output_nodes(graph))


def test_what_has_no_shared_dequantize_stays_itself(tiny: Any) -> None:
    assert own_dequantizes(tiny.graph) is tiny.graph


def test_a_number_that_means_never_stays_out_of_the_range_of_the_others(
    captured: Callable[..., Program], samples_of: Callable[..., Samples], inputs: Array
) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.a(x)
            infinite = y.masked_fill(x[:, :1] > 0, float("-inf"))
            return torch.softmax(torch.where(x[:, :1] > 0, y, -1e9), 1), torch.softmax(infinite, 2)

    graph = quantize_program(captured(Attention(), SHAPE), samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]
    scales = [node.args[1] for node in graph.nodes if ".quantize_per_tensor" in node.target]
    assert scales and max(scales) < 1
