"""Activations: recognized however they are written, and made of operators that quantization has rules for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds.program import DEQUANTIZE, QUANTIZE
from edgeds.recipe import Recipe
from edgeds.spec import Node, Program, Samples

if TYPE_CHECKING:
    import torch
    from torch import fx

Function = Callable[[Any], Any]

IMAGE = (1, 4, 6, 6)


def x(*shape: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32) * 3)


@pytest.fixture
def shaped(captured: Callable[..., Program]) -> Callable[..., fx.GraphModule]:
    """The GraphModule that the rewrites work on, from a function of the negated input and its shape."""

    def make(function: Function, shape: tuple[int, ...] = IMAGE) -> fx.GraphModule:
        import torch

        from edgeds.quantize import pt2e

        class Module(torch.nn.Module):
            def forward(self, value: torch.Tensor) -> Any:
                return function(value.cos() * 4)

        return pt2e._with_values(captured(Module(), shape))

    return make


def calls(module: fx.GraphModule) -> list[str]:
    """The operators behind the two that make the input of the function."""
    return [str(n.target).removeprefix("aten.") for n in module.graph.nodes if n.op == "call_function"][2:]


def rewritten(module: fx.GraphModule, shape: tuple[int, ...], *names: str) -> fx.GraphModule:
    """The module after the rewrites of these names, in the order in which they stand in REWRITES; none may be undone."""
    from edgeds.quantize.canonical import REWRITES, canonicalize

    chosen = [rewrite for rewrite in REWRITES if rewrite.__name__ in ("functional", "constants", *names)]
    result, warnings = canonicalize(module, (x(*shape),), chosen)
    assert warnings == ()
    return result


def value_of(module: fx.GraphModule, shape: tuple[int, ...] = IMAGE) -> torch.Tensor:
    """The first output for seeded values."""
    from torch.utils._pytree import tree_leaves

    value: torch.Tensor = tree_leaves(module(x(*shape)))[0]
    return value


def torch_functional() -> Any:
    import torch.nn.functional as F

    return F


SPELLINGS: dict[str, tuple[Function, str]] = {
    "x * relu6(x + 3) / 6": (lambda v: v * torch_functional().relu6(v + 3) / 6, "hardswish.default"),
    "x * (relu6(x + 3) / 6)": (lambda v: v * (torch_functional().relu6(v + 3, inplace=True) / 6), "hardswish.default"),
    "x * hardtanh / 6": (lambda v: v * torch_functional().hardtanh(v + 3, 0.0, 6.0) / 6.0, "hardswish.default"),
    "x * clamp * (1 / 6)": (lambda v: v * (v + 3).clamp(0, 6) * (1 / 6), "hardswish.default"),
    "x * hardsigmoid": (lambda v: v * torch_functional().hardsigmoid(v), "hardswish.default"),
    "relu6(x + 3) / 6": (lambda v: torch_functional().relu6(v + 3) / 6, "hardsigmoid.default"),
    "clamp(x / 6 + 0.5)": (lambda v: (v / 6 + 0.5).clamp(0, 1), "hardsigmoid.default"),
    "x * sigmoid": (lambda v: v.mul(v.sigmoid()), "silu.default"),
    "x / (1 + exp(-x))": (lambda v: v / (1 + (-v).exp()), "silu.default"),
    "GELU by erf": (lambda v: 0.5 * v * (1 + (v / math.sqrt(2)).erf()), "gelu.default"),
    "GELU by tanh": (lambda v: 0.5 * v * (1 + (0.79788456 * (v + 0.044715 * v**3)).tanh()), "gelu.default"),
    "x * tanh(softplus)": (lambda v: v * torch_functional().softplus(v).tanh(), "mish.default"),
    "relu, then at most 6": (lambda v: v.relu().clamp(max=6), "hardtanh.default"),
    "2 sigmoid(2x) - 1": (lambda v: 2 * (2 * v).sigmoid() - 1, "tanh.default"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_activation_is_recognized_however_it_is_written(shaped: Callable[..., Any], spelling: str) -> None:
    function, operator = SPELLINGS[spelling]
    assert calls(rewritten(shaped(function), IMAGE, "spelled")) == [operator]


@pytest.mark.parametrize(
    "function",
    [
        lambda v: v * torch_functional().relu6(v + 2) / 6,
        lambda v: v * (1.702 * v).sigmoid(),
        lambda v: v.relu() * torch_functional().relu6(v + 3) / 6,
        lambda v: v[:, :, :1] * torch_functional().relu6(v + 3) / 6,  # broadcast
    ],
    ids=["another offset", "another slope", "another factor", "another shape"],
)
def test_what_only_looks_like_an_activation_stays(shaped: Callable[..., Any], function: Function) -> None:
    module = shaped(function)
    known = {operator for _, operator in SPELLINGS.values()} - {"silu.default"}
    assert not known & set(calls(rewritten(module, IMAGE, "spelled")))


def test_a_written_out_activation_of_an_activation_keeps_the_inner_one(shaped: Callable[..., Any]) -> None:
    def swish_of_relu(v: Any) -> Any:
        v = v.relu()
        return v * torch_functional().relu6(v + 3) / 6

    assert calls(rewritten(shaped(swish_of_relu), IMAGE, "spelled")) == ["relu.default", "hardswish.default"]


def number(value: float) -> Any:
    import torch

    return torch.full((1,), value)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda v: v.clamp(min=0), ["relu.default"]),
        (lambda v: v.clamp_min(0), ["relu.default"]),
        (lambda v: v.clamp_min(0.5), ["clamp.default"]),
        (lambda v: v.clamp_max(0.5), ["clamp.default"]),
        (lambda v: v.clip(0, 1), ["clamp.default"]),
        (lambda v: v.clip(max=1), ["clamp.default"]),
        (lambda v: torch_functional().threshold(v, 0.0, 0.0), ["relu.default"]),
        (lambda v: torch_functional().threshold(v, 0.5, 0.0), ["threshold.default"]),
        (lambda v: v.maximum(number(0.0)), ["relu.default"]),
        (lambda v: number(6.0).minimum(v), ["clamp.default"]),
    ],
)
def test_every_clamp_is_written_plainly(shaped: Callable[..., Any], function: Function, expected: list[str]) -> None:
    module = shaped(function)
    result = rewritten(module, IMAGE, "plain_clamp")
    assert calls(result) == expected
    assert bool((value_of(result) == value_of(module)).all())


@pytest.mark.parametrize("shape", [(2, 4), (1, 4, 6), (1, 3, 4, 6), IMAGE, (1, 4, 2, 3, 5)])
@pytest.mark.parametrize("name", ["hardswish", "hardsigmoid", "silu"])
def test_an_activation_of_any_rank_is_made_of_integer_operators(
    shaped: Callable[..., Any], name: str, shape: tuple[int, ...]
) -> None:
    module = shaped(getattr(torch_functional(), name), shape)
    result = rewritten(module, shape, name)
    assert f"{name}.default" not in calls(result)
    assert value_of(result, shape).shape == shape
    assert float((value_of(result, shape) - value_of(module, shape)).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("slopes", "operators"),
    [
        ([0.25], {"leaky_relu.default": 1}),
        ([0.3] * 4, {"leaky_relu.default": 1}),
        ([0.0, 0.1, 0.2, 1.5], {"conv2d.default": 2, "relu.default": 1, "clamp.default": 1, "add.Tensor": 1}),
        ([0.1, -0.1, 0.2, 0.3], {"prelu.default": 1}),  # its two halves would not be clamps
    ],
)
def test_prelu_is_leaky_relu_or_two_convolutions(
    shaped: Callable[..., Any], slopes: list[float], operators: dict[str, int]
) -> None:
    import torch

    module = shaped(lambda v: torch_functional().prelu(v, torch.tensor(slopes)))
    result = rewritten(module, IMAGE, "prelu")
    assert Counter(calls(result)) == operators
    assert float((value_of(result) - value_of(module)).abs().max()) < 1e-5


def cat_then_relu(v: Any) -> Any:
    import torch

    return torch.cat([v.sin(), v.tan()], 1).relu()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (cat_then_relu, ["sin.default", "relu.default", "tan.default", "relu.default", "cat.default"]),
        (
            lambda v: torch_functional().relu6(torch_functional().max_pool2d(v.sin(), 2).flatten(1)),
            ["sin.default", "relu6.default", "max_pool2d.default", "flatten.using_ints"],
        ),
        (
            lambda v: torch_functional().avg_pool2d(v.sin(), 2).relu(),  # the mean of clamped values is another one
            ["sin.default", "avg_pool2d.default", "relu.default"],
        ),
    ],
    ids=["concatenation", "max-pool and flatten", "average pool"],
)
def test_a_clamp_is_done_before_what_only_moves_values(
    shaped: Callable[..., Any], function: Function, expected: list[str]
) -> None:
    module = shaped(function)
    result = rewritten(module, IMAGE, "clamp_first")
    assert sorted(calls(result)) == sorted(expected)
    assert calls(result)[-1] == expected[-1]
    assert bool((value_of(result) == value_of(module)).all())


def test_a_clamp_stays_behind_a_move_that_others_read_too(shaped: Callable[..., Any]) -> None:
    def both(v: Any) -> Any:
        flat = v.sin().flatten(1)
        return flat, flat.relu()

    assert calls(rewritten(shaped(both), IMAGE, "clamp_first"))[-1] == "relu.default"


@pytest.fixture(scope="module")
def quantized(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Callable[[Function], Program]:
    """The PT2E graph of a function of a convolution's output."""

    def make(function: Function) -> Program:
        import torch

        from edgeds.quantize.pt2e import quantize_program

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.last = torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1)

            def forward(self, value: torch.Tensor) -> Any:
                return self.last(function(self.conv(value)))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            program = captured(Module(), IMAGE)
        inputs = np.random.default_rng(0).normal(size=(8, *IMAGE[1:])).astype(np.float32) * 3
        return quantize_program(program, samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]

    return make


def readers(graph: Program, node: Node) -> list[Node]:
    return [user for user in graph.nodes if {"node": node.name} in user.args]


def quantization(graph: Program, target: str) -> tuple[float, int]:
    """Scale and zero point of what an operator's output is quantized with."""
    node = next(n for n in graph.nodes if n.target == target)
    (quantize,) = readers(graph, node)
    assert quantize.target == QUANTIZE
    return quantize.args[1], quantize.args[2]


@pytest.mark.parametrize(
    ("name", "scale", "zero_point"), [("sigmoid", 1 / 256, -128), ("tanh", 1 / 128, 0)], ids=["sigmoid", "tanh"]
)
def test_what_has_a_fixed_scale_keeps_it_through_moves_up_to_its_readers(
    quantized: Callable[[Function], Program], name: str, scale: float, zero_point: int
) -> None:
    graph = quantized(lambda v: getattr(v, name)().reshape(1, 4, 36).reshape(1, 4, 9, 4))
    assert quantization(graph, f"aten.{name}.default") == (scale, zero_point)
    reshapes = [n for n in graph.nodes if n.target == "aten.reshape.default"]
    assert reshapes
    for node in graph.nodes:
        if node.target == DEQUANTIZE and {"node": node.name} in [a for r in reshapes for a in r.args]:
            assert (node.args[1], node.args[2]) == (scale, zero_point)
    assert not requantizations(graph)


def requantizations(graph: Program) -> list[str]:
    """Quantize nodes that read a dequantize: conversions that no operator asked for."""
    by_name = {node.name: node for node in graph.nodes}
    return [n.name for n in graph.nodes if n.target == QUANTIZE and by_name[n.args[0]["node"]].target == DEQUANTIZE]


@pytest.mark.parametrize("name", ["gelu", "leaky_relu", "elu", "mish"])
def test_an_activation_that_some_runtime_lacks_stands_between_int8_tensors(
    quantized: Callable[[Function], Program], name: str
) -> None:
    graph = quantized(getattr(torch_functional(), name))
    node = next(n for n in graph.nodes if n.target == f"aten.{name}.default")
    by_name = {n.name: n for n in graph.nodes}
    assert by_name[node.args[0]["node"]].target == DEQUANTIZE
    assert [reader.target for reader in readers(graph, node)] == [QUANTIZE]


def cat_of_sum_and_product(v: Any) -> Any:
    import torch

    return torch.cat([v + v.sigmoid(), v * v.sigmoid()], 1).relu()[:, :4]


@pytest.mark.parametrize(
    "function",
    [
        lambda v: torch_functional().relu6(v),
        lambda v: (v + v.sigmoid()).relu(),
        lambda v: (v * v.sigmoid()).clamp(-0.1, 0.4),
        cat_of_sum_and_product,
        lambda v: torch_functional().max_pool2d(v, 3, 1, 1).relu(),
        lambda v: v.mean((2, 3), keepdim=True).relu(),
    ],
    ids=["conv", "add", "mul", "cat", "max-pool", "mean"],
)
def test_saturation_implies_the_clamp_of_every_producer(
    quantized: Callable[[Function], Program], function: Function
) -> None:
    graph = quantized(function)
    clamps = {"aten.relu.default", "aten.relu6.default", "aten.hardtanh.default", "aten.clamp.default"}
    assert not clamps & {node.target for node in graph.nodes}
