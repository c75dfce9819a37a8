"""The forms that exporters give to functions of the quantized graph: values kept, and nothing else touched."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds import program as programs
from edgeds.recipe import Recipe
from edgeds.spec import Compute, Format, OperatorCount, Precision, Program, Samples

if TYPE_CHECKING:
    import torch
    from torch import fx

SHAPE = (1, 4, 6, 6)
Quantized = Callable[[Callable[[Any, Any], Any]], Program]


@pytest.fixture(scope="module")
def quantized(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Quantized:
    """The PT2E graph of a function of seeded layers and a convolution's output."""

    def make(function: Callable[[Any, Any], Any]) -> Program:
        import torch
        from torch import nn

        from edgeds.quantize.pt2e import quantize_program

        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.conv = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
                self.ramp = nn.Conv2d(4, 4, 1, groups=4)
                nn.init.constant_(self.ramp.weight, 1 / 6)
                self.ramp.bias = nn.Parameter(torch.full((4,), 0.25))

            def forward(self, x: torch.Tensor) -> Any:
                return function(self, 3 * self.stem(x))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            program = captured(Module(), SHAPE)
        inputs = np.random.default_rng(0).normal(size=(8, *SHAPE[1:])).astype(np.float32) * 3
        return quantize_program(program, samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]

    return make


def rewritten(graph: Program, form: Callable[[fx.GraphModule], int]) -> tuple[int, Counter[str], torch.Tensor]:
    """How often a form was found, the operators afterwards, and how far the outputs moved, in steps of the output."""
    import torch
    from torch.utils._pytree import tree_leaves

    from edgeds.quantize.parameters import output_scales

    x = torch.from_numpy(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32) * 3)
    module = programs.to_graph_module(graph)
    before = tree_leaves(module(x))[0]
    count = form(module)
    after = tree_leaves(module(x))[0]
    names = Counter(str(n.target).split(".")[1] for n in module.graph.nodes if n.op == "call_function")
    return count, names, (after - before).abs() / output_scales(graph)[0]


def functional() -> Any:
    import torch.nn.functional as F

    return F


def test_xnnpack_gets_hardswish_itself_at_most_a_step_away(quantized: Quantized) -> None:
    from edgeds.export.xnnpack_forms import own_hardswish

    graph = quantized(lambda m, x: functional().hardswish(x))
    assert Counter(n.target for n in graph.nodes)["aten.mul.Tensor"] == 1
    count, names, steps = rewritten(graph, own_hardswish)
    assert (count, names["hardswish"], names["mul"], names["conv2d"]) == (1, 1, 0, 1)
    assert float(steps.max()) <= 1.01


def with_another_offset(m: Any, x: Any) -> Any:
    return x * functional().hardtanh(m.ramp(x), 0.0, 1.0)


def with_another_input(m: Any, x: Any) -> Any:
    return m.conv(x) * functional().hardsigmoid(x)


def without_a_clamp_at_zero(m: Any, x: Any) -> Any:
    return x * functional().hardsigmoid(m.conv(x))


@pytest.mark.parametrize("function", [with_another_offset, with_another_input, without_a_clamp_at_zero])
def test_a_product_that_is_not_hardswish_stays(quantized: Quantized, function: Callable[[Any, Any], Any]) -> None:
    from edgeds.export.xnnpack_forms import own_hardswish

    count, names, steps = rewritten(quantized(function), own_hardswish)
    assert (count, names["mul"], float(steps.max())) == (0, 1, 0.0)


def test_mish_in_pieces_has_the_same_values(quantized: Quantized) -> None:
    from edgeds.export.mish import mish_in_pieces

    count, names, steps = rewritten(quantized(lambda m, x: functional().mish(10 * x)), mish_in_pieces)
    assert (count, names["mish"]) == (1, 0)
    assert float(steps.max()) == 0
    assert not set(names) & {"log1p", "where", "softplus"}


@pytest.mark.parametrize(
    ("clamp", "operators"),
    [
        (lambda v: v.relu(), {"maximum": 1}),
        (lambda v: functional().relu6(v), {"maximum": 1, "minimum": 1}),
        (lambda v: v.clamp(-0.4, 0.7), {"maximum": 1, "minimum": 1}),
        (lambda v: v.clamp(max=0.7), {"minimum": 1}),
    ],
)
def test_a_clamp_that_stands_alone_is_a_maximum_and_a_minimum_with_the_same_values(
    quantized: Quantized, clamp: Callable[[Any], Any], operators: dict[str, int]
) -> None:
    from edgeds.export.litert_forms import lone_clamp

    count, names, steps = rewritten(quantized(lambda m, x: clamp(x) + m.conv(x)), lone_clamp)
    assert count == 1
    assert {name: names[name] for name in ("maximum", "minimum") if names[name]} == operators
    assert not set(names) & {"relu", "relu6", "hardtanh", "clamp"}
    assert float(steps.max()) == 0


def test_every_measured_form_is_made_by_a_rewrite_that_exists_and_is_the_fastest_exact_one() -> None:
    from edgeds.export.forms import MEASUREMENTS

    for row in MEASUREMENTS:
        exact = [us for name, us in row.others if "approximate" not in name]
        assert row.chosen_us < min(exact)
        if row.done_by != "nothing":
            package, name = row.done_by.split(".")
            parent = "edgeds.quantize" if package == "canonical" else "edgeds.export"
            assert callable(getattr(importlib.import_module(f"{parent}.{package}"), name))


@pytest.mark.parametrize(
    ("function", "operator", "format", "reason"),
    [
        ("gelu", "Gelu", Format.ONNX, "ONNX Runtime has no integer kernel for aten.gelu.default in gelu; SiLU or hard"),
        ("mish", "Softplus", Format.ONNX, "ONNX Runtime has no integer kernel for aten.mish.default in mish; SiLU or"),
        ("elu", "EXP", Format.TFLITE, "LiteRT has no integer kernel for aten.elu.default in elu; leaky_relu in its pl"),
    ],
)
def test_a_note_names_the_activation_that_a_float_operator_comes_from_and_what_would_mend_it(
    quantized: Quantized, function: str, operator: str, format: Format, reason: str
) -> None:
    from edgeds.export.notes import float_notes

    graph = quantized(lambda m, x: m.conv(getattr(functional(), function)(x)))
    executed = [OperatorCount(operator, Compute.FLOAT32, 1)]
    (note,) = float_notes(graph, Precision.INT8, executed, format)
    assert note.startswith(f"{operator}: 1 in float: {reason}")
    assert float_notes(graph, Precision.FP32, executed, format) == ()


def test_a_softmax_stays_in_float_on_purpose(quantized: Quantized) -> None:
    from edgeds.export.notes import float_notes

    graph = quantized(lambda m, x: m.conv(x).mean((2, 3)).softmax(1))
    (note,) = float_notes(graph, Precision.INT8, [OperatorCount("Softmax", Compute.FLOAT32, 1)], Format.EXECUTORCH)
    assert note.startswith("Softmax: 1 in float: int8 would lose its small values: aten.softmax.int in softmax; return")
