from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds.program import DEQUANTIZE, QUANTIZE
from edgeds.recipe import Recipe
from edgeds.spec import Array, Node, Program, Samples

if TYPE_CHECKING:
    import torch

IMAGE = (1, 3, 8, 8)

Forward = Callable[..., Any]
Result = tuple[Program, list[Array], list[Array], tuple[str, ...]]


@pytest.fixture(scope="module")
def quantized(
    captured: Callable[..., Program], samples_of: Callable[..., Samples], evaluate: Callable[..., list[Array]]
) -> Callable[..., Result]:
    """The graph of a forward function on seeded layers, and what it and the float program compute for unseen inputs."""

    def make(forward: Forward, *shapes: tuple[int, ...]) -> Result:
        from edgeds.quantize.pt2e import quantize_program

        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=(20, *shape[1:])).astype(np.float32) for shape in shapes or (IMAGE,)]
        program = captured(layers(forward), *(shapes or (IMAGE,)))
        graph, _, warnings = quantize_program(program, samples_of(*(a[:16] for a in arrays)), Recipe("fast"))
        unseen = [a[16:] for a in arrays]
        return graph, evaluate(program, *unseen), evaluate(graph, *unseen), warnings

    return make


def layers(forward_function: Forward) -> torch.nn.Module:
    import torch
    from torch import nn

    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.strided = nn.Conv2d(8, 8, 3, stride=2, groups=8)
            self.conv1d = nn.Conv1d(6, 8, 3, padding=1)
            self.linear = nn.Linear(8, 4)
            self.norm = nn.BatchNorm2d(8)
            self.scale = nn.Parameter(torch.rand(1, 8, 1, 1) + 0.5)

        def forward(self, *inputs: torch.Tensor) -> Any:
            return forward_function(self, *inputs)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Layers()


def targets(graph: Program) -> Counter[str]:
    return Counter(node.target for node in graph.nodes if node.op == "call_function")


def readers(graph: Program, node: Node) -> list[Node]:
    return [user for user in graph.nodes if {"node": node.name} in [a for a in user.args if isinstance(a, dict)]]


def sqnr_db(reference: Array, other: Array) -> float:
    noise = float(np.square(reference - other).sum())
    return float(10 * np.log10(float(np.square(reference).sum()) / noise)) if noise else np.inf


def cat_of_one_twice(m: Any, x: Any) -> Any:
    import torch

    return torch.cat([m.conv(x).relu()] * 2, 1)


def cat_with_a_float_branch(m: Any, x: Any) -> Any:
    import torch
    import torch.nn.functional as F

    return m.depthwise(torch.cat([F.gelu(m.conv(x))[:, :4], m.conv(x)[:, 4:]], 1))


def cat_with_a_sigmoid(m: Any, x: Any) -> Any:
    import torch

    return torch.cat([torch.sigmoid(m.conv(x)).flatten(2), 5 * m.conv(x).flatten(2)], 1)


def cat_with_a_larger_constant(m: Any, x: Any) -> Any:
    import torch

    return torch.cat([m.scale.expand(1, 8, 8, 8) * 20, m.conv(x)], 1)


def cat_with_the_input(m: Any, x: Any) -> Any:
    import torch

    return torch.cat([x, m.conv(x)], 1)


def add_to_itself(m: Any, x: Any) -> Any:
    y = m.conv(x)
    return m.depthwise(y + y)


def multiply_by_itself(m: Any, x: Any) -> Any:
    y = m.conv(x)
    return m.depthwise(y * y)


def add_a_scalar(m: Any, x: Any) -> Any:
    return m.depthwise(m.conv(x) + 3.0)


def multiply_by_a_scalar(m: Any, x: Any) -> Any:
    return m.depthwise(2 * m.conv(x))


def multiply_by_a_constant(m: Any, x: Any) -> Any:
    return m.depthwise(m.conv(x) * m.scale)


def add_with_alpha(m: Any, x: Any) -> Any:
    import torch

    return m.depthwise(torch.add(m.conv(x), m.conv(x).relu(), alpha=3))


def add_with_broadcast(m: Any, x: Any) -> Any:
    return m.depthwise(m.conv(x) + m.conv(x).mean((2, 3), keepdim=True))


def pad_with_a_large_value(m: Any, x: Any) -> Any:
    import torch.nn.functional as F

    return m.conv(F.pad(x, [1, 1, 1, 1], value=9.0))


def pad_with_reflection(m: Any, x: Any) -> Any:
    import torch.nn.functional as F

    return m.conv(F.pad(x, [1, 1, 1, 1], mode="reflect"))


def pad_with_infinity(m: Any, x: Any) -> Any:
    import torch.nn.functional as F

    return F.max_pool2d(F.pad(m.conv(x), [1, 1, 1, 1], value=float("-inf")), 3)


def mean_over_one_axis(m: Any, x: Any) -> Any:
    return m.conv(x).mean(3)


def mean_over_channels(m: Any, x: Any) -> Any:
    return m.conv(x).mean(1, keepdim=True)


def pools(m: Any, x: Any) -> Any:
    import torch.nn.functional as F

    y = m.conv(x)
    return F.avg_pool2d(y, 2), F.max_pool2d(y, 3, 2, 1), F.adaptive_avg_pool2d(y, 2)


def two_outputs_of_one_convolution(m: Any, x: Any) -> Any:
    y = m.conv(x)
    return y, y.relu()


def an_output_that_is_the_input(m: Any, x: Any) -> Any:
    return x, m.conv(x)


def nothing_to_quantize(m: Any, x: Any) -> Any:
    import torch

    return torch.cos(x) / (1 + x.abs())


def only_the_input(m: Any, x: Any) -> Any:
    return x.clone()


def computed_weight(m: Any, x: Any) -> Any:
    import torch.nn.functional as F

    return F.conv2d(m.conv(x), m.depthwise.weight * m.conv(x).mean(), groups=8)


def integers_inside(m: Any, x: Any) -> Any:
    import torch

    y = m.conv(x)
    index = torch.argmax(y, 1, keepdim=True)
    return torch.cat([index, index + index], 1).float() * y.relu()[:, :2] + y.relu()[:, :2]


def norm_without_convolution(m: Any, x: Any) -> Any:
    return m.depthwise(m.norm(m.conv(x).relu()).relu())


@pytest.mark.parametrize(
    "forward",
    [
        cat_of_one_twice,
        cat_with_a_float_branch,
        cat_with_a_sigmoid,
        cat_with_a_larger_constant,
        cat_with_the_input,
        add_to_itself,
        multiply_by_itself,
        add_a_scalar,
        multiply_by_a_scalar,
        multiply_by_a_constant,
        add_with_alpha,
        add_with_broadcast,
        pad_with_a_large_value,
        pad_with_reflection,
        pad_with_infinity,
        mean_over_one_axis,
        mean_over_channels,
        pools,
        two_outputs_of_one_convolution,
        an_output_that_is_the_input,
        nothing_to_quantize,
        only_the_input,
        computed_weight,
        integers_inside,
        norm_without_convolution,
    ],
)
def test_whatever_a_model_does_its_quantized_graph_computes_the_same(
    quantized: Callable[..., Result], forward: Forward
) -> None:
    _, expected, got, warnings = quantized(forward)
    assert warnings == ()
    assert len(expected) == len(got)
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape
        assert sqnr_db(a, b) > 15


@pytest.mark.parametrize(
    ("forward", "shapes"),
    [
        (lambda m, x: m.conv1d(x).relu(), [(1, 6, 10)]),
        (lambda m, x: m.linear(x).relu(), [(1, 5, 8)]),
        (lambda m, a, b: m.conv(a) + m.conv(b).relu(), [IMAGE, IMAGE]),
    ],
    ids=["conv1d", "linear of three axes", "two inputs"],
)
def test_other_ranks_and_two_inputs_are_quantized_too(
    quantized: Callable[..., Result], forward: Forward, shapes: list[tuple[int, ...]]
) -> None:
    graph, expected, got, _ = quantized(forward, *shapes)
    assert sqnr_db(expected[0], got[0]) > 25
    assert targets(graph)[QUANTIZE] >= 2


@pytest.mark.parametrize("activation", ["relu", "relu6", "relu_", "hardtanh"])
def test_nothing_stands_between_a_convolution_and_its_clamp(quantized: Callable[..., Result], activation: str) -> None:
    def forward(m: Any, x: Any) -> Any:
        import torch.nn.functional as F

        return m.depthwise(getattr(F, activation)(m.conv(x)))

    graph, *_ = quantized(forward)
    assert targets(graph)[QUANTIZE] == 3  # input, clamp, output
    conv = next(node for node in graph.nodes if node.target == "aten.conv2d.default")
    (reader,) = readers(graph, conv)
    assert reader.target == QUANTIZE  # saturation implied the clamp


def test_the_stock_quantizer_puts_more_quantizes(
    captured: Callable[..., Program], quantized: Callable[..., Result]
) -> None:
    """The reason why edgeds has a quantizer of its own."""
    import warnings

    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # executorch's import warns of its own
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer

    from edgeds.quantize import pt2e

    def forward(m: Any, x: Any) -> Any:
        import torch.nn.functional as F

        return m.depthwise(F.relu6(m.conv(x)))

    graph, *_ = quantized(forward)
    stock = xnnpack_quantizer.XNNPACKQuantizer()
    stock.set_global(xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(pt2e._with_values(captured(layers(forward), IMAGE)), stock)
    prepared(torch.zeros(IMAGE))
    stocks = convert_pt2e(prepared)
    assert sum(str(node.target) == QUANTIZE for node in stocks.graph.nodes) == 4
    assert targets(graph)[QUANTIZE] == 3


def scales(graph: Program) -> dict[str, tuple[float, int]]:
    """Scale and zero point of what each step's value is quantized with, by the step's operator."""
    by_name = {node.name: node for node in graph.nodes}
    found = {}
    for node in graph.nodes:
        if node.target == QUANTIZE:
            source = by_name[node.args[0]["node"]]
            found[source.target] = (float(node.args[1]), int(node.args[2]))
    return found


def test_a_pad_and_a_flatten_keep_the_scale_of_what_they_move(quantized: Callable[..., Result]) -> None:
    def forward(m: Any, x: Any) -> Any:
        import torch.nn.functional as F

        return m.strided(F.pad(F.max_pool2d(m.conv(x), 2), [0, 1, 0, 1])).flatten(1)

    graph, *_ = quantized(forward)
    by_name = {node.name: node for node in graph.nodes}
    moves = ("aten.pad.default", "aten.max_pool2d.default", "aten.reshape.default")
    moved = [node for node in graph.nodes if node.target in moves]
    assert len(moved) == 3
    for node in moved:
        before = by_name[node.args[0]["node"]]
        (after,) = readers(graph, node)
        assert (before.target, after.target) == (DEQUANTIZE, QUANTIZE)
        assert before.args[1:3] == after.args[1:3]


def test_what_is_concatenated_has_one_scale(quantized: Callable[..., Result]) -> None:
    def forward(m: Any, x: Any) -> Any:
        import torch

        return torch.cat([m.conv(x).relu(), 7 * m.depthwise(m.conv(x)), m.conv(x)], 1)

    graph, *_ = quantized(forward)
    by_name = {node.name: node for node in graph.nodes}
    cat = next(node for node in graph.nodes if node.target == "aten.cat.default")
    inputs = [by_name[reference["node"]] for reference in cat.args[0]]
    (output,) = readers(graph, cat)
    assert {node.target for node in inputs} == {DEQUANTIZE}
    assert {(node.args[1], node.args[2]) for node in (*inputs, output)} == {(output.args[1], output.args[2])}


def test_a_sigmoid_has_the_scale_that_the_runtimes_demand_and_its_readers_take_it(
    quantized: Callable[..., Result],
) -> None:
    def forward(m: Any, x: Any) -> Any:
        y = m.conv(x)
        gate = y.mean((2, 3), keepdim=True).sigmoid()
        return y * gate + gate

    graph, *_ = quantized(forward)
    sigmoid = next(node for node in graph.nodes if node.target == "aten.sigmoid.default")
    (quantize,) = readers(graph, sigmoid)
    assert (quantize.args[1], quantize.args[2]) == (1 / 256, -128)
    assert {node.target for node in readers(graph, quantize)} == {DEQUANTIZE}
    assert {(n.args[1], n.args[2]) for n in readers(graph, quantize)} == {(1 / 256, -128)}
    assert len(readers(graph, quantize)) == 2


def test_a_model_without_anything_to_quantize_stays_a_valid_graph(quantized: Callable[..., Result]) -> None:
    graph, expected, got, _ = quantized(nothing_to_quantize)
    assert targets(graph)[QUANTIZE] == 0
    np.testing.assert_array_equal(expected[0], got[0])


@pytest.mark.parametrize(("name", "quantizes"), [("mobilenet_v2", 66), ("mobilenet_v1", 31)])
def test_the_zoo_has_one_quantize_for_each_tensor_that_a_runtime_stores(
    samples_of: Callable[..., Samples], captured: Callable[..., Program], name: str, quantizes: int
) -> None:
    """V2: input, 52 convolutions, 10 adds, mean, flatten, linear. V1: input, 27 convolutions, mean, flatten, linear."""
    from importlib import import_module

    from edgeds.quantize.pt2e import quantize_program

    module = getattr(import_module(f"edgeds.models.{name}"), name)(0.5, 10, 32, 0)
    shape = (1, 3, 32, 32)
    inputs = np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)
    graph, tensors, _ = quantize_program(captured(module, shape), samples_of(inputs), Recipe("w8c-a8t-minmax"))
    assert targets(graph)[QUANTIZE] == quantizes
    weights = [tensor for tensor in tensors if tensor.axis is not None]
    assert len(weights) == targets(graph)["aten.conv2d.default"] + 1
    assert all(len(tensor.scale) > 1 and set(tensor.zero_point) == {0} for tensor in weights)
    assert not {"aten.relu6.default", "aten.relu.default", "aten.hardtanh.default"} & set(targets(graph))
