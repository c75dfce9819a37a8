"""Modules that are called twice: right after quantization, and no larger in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeds import program as programs
from edgeds.drift.metrics import sqnr_db
from edgeds.quantize.pt2e import quantize_program
from edgeds.quantize.shared import merged, separate
from edgeds.recipe import Recipe
from edgeds.spec import Array, Program, Samples


class Twice(nn.Module):
    """The same convolution and batch-norm twice, and a table that two other steps read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.table = nn.Buffer(torch.linspace(0, 1, 32).view(4, 8, 1))
        nn.init.uniform_(self.norm.weight, 0.3, 0.6)
        nn.init.uniform_(self.norm.get_buffer("running_var"), 0.2, 0.4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        y: Tensor = self.norm(self.conv(x + self.table)).relu() + self.table
        return y


def twice(captured: Callable[..., Program]) -> Program:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return captured(Twice(), (1, 4, 8, 8))


def inputs() -> Array:
    return np.random.default_rng(0).normal(size=(8, 4, 8, 8)).astype(np.float32)


def readers(program: Program, name: str) -> int:
    """How many steps read tensors whose names begin like this."""
    return sum(node.op == "get_attr" and node.target.startswith(name) for node in program.nodes)


def test_a_module_that_is_called_twice_is_quantized_right(
    captured: Callable[..., Program], evaluate: Callable[..., list[Array]], samples_of: Callable[..., Samples]
) -> None:
    program = twice(captured)
    graph, _, _ = quantize_program(program, samples_of(inputs()), Recipe("fast"))
    assert (
        sqnr_db(evaluate(program, inputs())[0], evaluate(graph, inputs())[0]) > 25
    )  # -3 dB with batch-norm folded twice


def test_its_weights_stand_in_the_graph_once_and_its_biases_twice(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    graph, _, _ = quantize_program(twice(captured), samples_of(inputs()), Recipe("fast"))
    convolutions = [node for node in graph.nodes if node.target == "aten.conv2d.default" and node.args[-1] != 4]
    assert len(convolutions) == 2
    assert len({str(node.args[2]) for node in convolutions}) == 2
    weights = [array for array in graph.tensors.values() if array.shape == (4, 4, 3, 3)]
    assert [array.dtype for array in weights] == [np.int8]


def test_only_layers_get_tensors_of_their_own(captured: Callable[..., Program], evaluate: Any) -> None:
    program = twice(captured)
    module = separate(programs.to_graph_module(program))
    apart = programs.from_graph_module(module, program.input_shapes)
    assert {name for name in program.tensors if name.startswith("table")} == {
        name for name in apart.tensors if name.startswith("table")
    }
    assert sum(array.shape == (4, 4, 3, 3) for array in apart.tensors.values()) == 2
    np.testing.assert_array_equal(evaluate(apart, inputs())[0], evaluate(program, inputs())[0])


def test_merging_keeps_what_differs_in_type_or_shape_apart(captured: Callable[..., Program]) -> None:
    program = twice(captured)
    zeros: dict[str, Array] = {
        "a": np.zeros((2, 2), np.int8),
        "b": np.zeros((2, 2), np.int8),
        "c": np.zeros((4, 1), np.int8),
        "d": np.zeros((1, 1), np.float32),
        "e": np.zeros(4, np.int8),
        "f": np.zeros(4, np.int8),
    }
    found = merged(Program((), zeros, program.input_shapes))
    assert list(found.tensors) == ["a", "c", "d", "e", "f"]
