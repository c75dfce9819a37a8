"""Layers that stay in float in an otherwise quantized graph: which ones, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeds.errors import InputError
from edgeds.export.float_steps import float_steps, keeps_layers
from edgeds.export.notes import float_input_notes, float_notes
from edgeds.mixing import worst
from edgeds.program import QUANTIZE
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.results import LayerCost, Sensitivity
from edgeds.spec import Array, Compute, Format, OperatorCount, Precision, Program, Samples

MINMAX = Recipe("w8c-a8t-minmax")


class Net(nn.Module):
    """Two residual sums, behind a stem that is padded apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU6())
        self.first, self.second, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(nn.functional.pad(x, [0, 1, 0, 1]))
        x = x + self.first(x)
        x = x + self.second(x)
        y: torch.Tensor = self.head(x.flatten(1))
        return y


@pytest.fixture(scope="module")
def samples(samples_of: Callable[..., Samples]) -> Samples:
    return samples_of(np.random.default_rng(0).normal(size=(8, 2, 6, 6)).astype(np.float32))


@pytest.fixture(scope="module")
def program(captured: Callable[..., Program]) -> Program:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return captured(Net(), (1, 2, 6, 6))


@pytest.fixture(scope="module")
def kept(program: Program, samples: Samples) -> Callable[..., Program]:
    def quantized(*names: str) -> Program:
        return quantize_program(program, samples, MINMAX.keeping_float(names))[0]

    return quantized


def in_float(graph: Program) -> set[str]:
    """The steps of the graph that read no quantized value and whose value is not quantized: by operator and module."""
    by_name = {node.name: node for node in graph.nodes}
    weighted = [n for n in graph.nodes if n.target in ("aten.conv2d.default", "aten.linear.default")]
    return {n.module for n in weighted if by_name[n.args[1]["node"]].op == "get_attr"}


def quantizes(graph: Program) -> list[str]:
    """What is quantized, in order: the step in front of each quantize."""
    by_name = {node.name: node for node in graph.nodes}
    found = [by_name[n.args[0]["node"]] for n in graph.nodes if n.target == QUANTIZE]
    return [node.target for node in found]


def test_the_named_layers_have_float_weights_and_all_others_int8(kept: Callable[..., Program]) -> None:
    assert in_float(kept()) == set()
    assert in_float(kept("second", "head")) == {"second", "head"}
    assert in_float(kept("stem")) == {"stem.0"}  # a module, with the layers in it


def test_a_value_between_two_float_layers_is_not_rounded_and_neither_is_an_input(kept: Callable[..., Program]) -> None:
    everything = quantizes(kept())
    assert everything[0] == "x" and len(everything) == len(
        quantizes(kept("second"))
    )  # alone, it reads and gives integers
    stem = quantizes(kept("stem"))
    assert stem[0] == "aten.conv2d.default" and "x" not in stem  # the range of the value is its clamp
    tail = quantizes(kept(":add:2", "head"))  # the sum's value, its flatten and the output
    assert len(tail) == len(everything) - 3


def test_the_more_stays_in_float_the_nearer_the_float_model(
    program: Program, samples: Samples, kept: Callable[..., Program], evaluate: Callable[..., list[Array]]
) -> None:
    exact = evaluate(program, samples.inputs[0])[0]
    sets = ((), ("head", ":add:2", "second"), ("stem", "first", "second", "head", ":add", ":add:2"))
    errors = [float(np.square(evaluate(kept(*names), samples.inputs[0])[0] - exact).sum()) for names in sets]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9


def test_a_layer_that_nothing_is_called_is_refused_with_near_matches(kept: Callable[..., Program]) -> None:
    with pytest.raises(
        InputError, match=r"^no layer is called 'frist' \(like first.*\); `edgeds sensitivity` lists all 6$"
    ):
        kept("head", "frist")


def test_notes_say_that_layers_were_to_stay_in_float(kept: Callable[..., Program]) -> None:
    graph = kept("stem", "head")
    assert keeps_layers(graph) and not keeps_layers(kept())
    assert {step.target for step in float_steps(graph)} >= {"aten.conv2d.default", "aten.linear.default"}
    operators = [OperatorCount("Conv", Compute.FLOAT32, 1), OperatorCount("linear", Compute.FLOAT32, 1)]
    notes = float_notes(graph, Precision.INT8, operators, Format.ONNX)
    assert notes == float_notes(graph, Precision.INT8, operators[:1], Format.TFLITE)
    (note,) = notes  # once, and the same in every format
    assert note == (
        "--keep-float leaves aten.conv2d.default in stem.0, aten.linear.default in head, aten.pad.default in pad in float"
    )
    (note,) = float_input_notes(graph, Precision.INT8)
    assert note.startswith("input x stays float32, for ") and note.endswith(" reads it in float; as --keep-float asks")


def test_a_recipes_name_says_what_stays_in_float_and_is_read_back() -> None:
    recipe = MINMAX.keeping_float(["head", "features.1:add", "head"])
    assert recipe.name == "w8c-a8t-minmax+float:features.1:add,head"
    assert (Recipe(recipe.name).kept_float, recipe.integers) == (("features.1:add", "head"), MINMAX.name)
    assert MINMAX.kept_float == () and MINMAX.keeping_float([]) == recipe.keeping_float([]) == MINMAX
    with pytest.raises(InputError, match=r"^unknown recipe 'w4'; choose from "):
        Recipe("w4+float:head")


def cost(name: str, weights_db: float | None, values_db: float | None, *readers: str, operator: str = "conv2d") -> Any:
    return LayerCost(name, operator, 10.0, weights_db, values_db, 0.1, readers)


COSTS = (
    cost("a", 20.0, 40.0, "b", "c"),  # its weights cost most: it alone
    cost("b:add", None, 20.0, "c", "d"),
    cost("x", None, 20.0, "a", operator="input"),
    cost("e", 30.0, 20.0, "f"),
)


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, ()),
        (1, ("a",)),
        (2, ("a", "b:add", "c", "d")),
        (3, ("a", "b:add", "c", "d")),
        (4, ("a", "b:add", "c", "d", "e", "f")),
        (9, ("a", "b:add", "c", "d", "e", "f")),
    ],
)
def test_the_most_costly_layers_stay_in_float_and_so_do_those_that_read_a_costly_value(
    count: int, names: tuple[str, ...]
) -> None:
    assert worst(Sensitivity(COSTS, 5.0, 8), count) == names
