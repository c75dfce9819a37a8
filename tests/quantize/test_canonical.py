from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds import program as programs
from edgeds.spec import Program

if TYPE_CHECKING:
    import torch
    from torch import fx

Capture = Callable[..., Program]


@pytest.fixture
def shaped(captured: Capture) -> Callable[..., Any]:
    """The GraphModule that the rewrites work on, from a function and input shapes."""

    def make(function: Callable[..., Any], *shapes: tuple[int, ...]) -> fx.GraphModule:
        import torch

        from edgeds.quantize import pt2e

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(0)
                self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
                self.even = torch.nn.Conv2d(3, 4, (4, 3), padding="same", dilation=(1, 2))
                self.linear = torch.nn.Linear(4, 4)
                self.table = torch.nn.Parameter(torch.randn(1, 4, 1, 1))

            def forward(self, *inputs: torch.Tensor) -> Any:
                return function(self, *inputs)

        with torch.random.fork_rng(devices=[]):
            return pt2e._with_values(captured(Module(), *shapes))

    return make


def calls(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def first(module: fx.GraphModule, *inputs: torch.Tensor) -> torch.Tensor:
    """The first output."""
    from torch.utils._pytree import tree_leaves

    value: torch.Tensor = tree_leaves(module(*inputs))[0]
    return value


def x(*shape: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32) * 3)


IMAGE = (1, 3, 6, 6)


def relu_of_conv(m: Any, image: Any) -> Any:
    return m.conv(image).relu_() + 1


def dropout_and_clone(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.dropout(m.conv(image).clone().contiguous(), training=False)


def mean_without_keepdim(m: Any, image: Any) -> Any:
    return m.linear(m.conv(image).mean((-1, -2)))


def mean_in_the_other_order(m: Any, image: Any) -> Any:
    return m.linear(m.conv(image).mean([3, 2]))


def adaptive_pool(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return m.linear(F.adaptive_avg_pool2d(m.conv(image), (1, 1)).flatten(1))


def same_padding(m: Any, image: Any) -> Any:
    return m.even(image)


def add_with_alpha(m: Any, image: Any) -> Any:
    import torch

    return torch.add(m.conv(image), m.conv(image).relu(), alpha=3)


def constant_expression(m: Any, image: Any) -> Any:
    import torch

    return torch.cat([m.table.expand(1, 4, 6, 6) * 2, m.conv(image)], 1)


def hardsigmoid_behind_conv(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.hardsigmoid(m.conv(image))


def hardsigmoid_behind_linear(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.hardsigmoid(m.linear(m.conv(image).mean((2, 3))))


def hardsigmoid_alone(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.hardsigmoid(m.conv(image) + 0.5)


def hardswish_of_an_image(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.hardswish(m.conv(image))


def hardswish_of_a_vector(m: Any, image: Any) -> Any:
    import torch.nn.functional as F

    return F.hardswish(m.linear(m.conv(image).mean((2, 3))))


@pytest.mark.parametrize(
    ("function", "gone", "there"),
    [
        (relu_of_conv, "aten.relu_.default", "aten.relu.default"),
        (dropout_and_clone, "aten.clone.default", "aten.conv2d.default"),
        (dropout_and_clone, "aten.dropout.default", "aten.conv2d.default"),
        (same_padding, "aten.conv2d.padding", "aten.constant_pad_nd.default"),
        (adaptive_pool, "aten.adaptive_avg_pool2d.default", "aten.mean.dim"),
        (mean_without_keepdim, "", "aten.reshape.default"),
        (mean_in_the_other_order, "", "aten.reshape.default"),
        (add_with_alpha, "", "aten.add.Tensor"),
        (constant_expression, "aten.expand.default", "aten.cat.default"),
        (hardsigmoid_behind_conv, "aten.hardsigmoid.default", "aten.hardtanh.default"),
        (hardsigmoid_behind_linear, "aten.hardsigmoid.default", "aten.hardtanh.default"),
        (hardsigmoid_alone, "aten.hardsigmoid.default", "aten.hardtanh.default"),
        (hardswish_of_an_image, "aten.hardswish.default", "aten.mul.Tensor"),
        (hardswish_of_a_vector, "aten.hardswish.default", "aten.mul.Tensor"),
    ],
)
def test_a_rewrite_replaces_the_operator_and_keeps_the_values(
    shaped: Callable[..., Any], function: Callable[..., Any], gone: str, there: str
) -> None:
    from edgeds.quantize.canonical import RELATIVE_TOLERANCE, canonicalize

    module = shaped(function, IMAGE)
    before = first(module, x(*IMAGE))
    rewritten, warnings = canonicalize(module, (x(*IMAGE),))
    after = first(rewritten, x(*IMAGE))
    assert warnings == ()
    assert gone not in calls(rewritten)
    assert there in calls(rewritten)
    assert after.shape == before.shape
    assert float((after - before).abs().max()) <= RELATIVE_TOLERANCE * float(before.abs().max())


def test_hardsigmoid_behind_a_convolution_costs_no_operator(shaped: Callable[..., Any]) -> None:
    from edgeds.quantize.canonical import canonicalize

    module, _ = canonicalize(shaped(hardsigmoid_behind_conv, IMAGE), (x(*IMAGE),))
    assert calls(module) == ["aten.conv2d.default", "aten.hardtanh.default"]


def test_a_rewrite_that_changes_the_output_is_undone_and_named(shaped: Callable[..., Any]) -> None:
    import torch

    from edgeds.quantize.canonical import REWRITES, canonicalize

    def planted(module: torch.fx.GraphModule) -> int:
        for node in module.graph.nodes:
            if node.target is torch.ops.aten.relu.default:
                node.target = torch.ops.aten.abs.default
        return 1

    def poisoned(module: torch.fx.GraphModule) -> int:
        for node in module.graph.nodes:
            if node.target is torch.ops.aten.relu.default:
                node.target = torch.ops.aten.log.default  # NaN for what is negative
        return 1

    module = shaped(relu_of_conv, IMAGE)
    expected = first(module, x(*IMAGE))
    rewritten, warnings = canonicalize(module, (x(*IMAGE),), (REWRITES[0], planted, poisoned))
    assert len(warnings) == 2
    assert warnings[0].startswith("rewrite planted changed the float output by ")
    assert warnings[1] == "rewrite poisoned changed the float output by inf (relative) and was undone"
    assert bool((first(rewritten, x(*IMAGE)) == expected).all())


def test_an_in_place_operator_behind_a_view_that_nobody_else_reads_is_rewritten(shaped: Callable[..., Any]) -> None:
    from edgeds.quantize.canonical import canonicalize

    def flat(m: Any, image: Any) -> Any:
        return m.conv(image).flatten(1).relu_()

    module = shaped(flat, IMAGE)
    rewritten, _ = canonicalize(module, (x(*IMAGE),))
    assert "aten.relu.default" in calls(rewritten) and "aten.relu_.default" not in calls(rewritten)
    assert bool((first(rewritten, x(*IMAGE)) == first(module, x(*IMAGE))).all())


def test_an_output_that_is_the_input_survives(shaped: Callable[..., Any]) -> None:
    from edgeds.quantize.canonical import canonicalize

    module, _ = canonicalize(shaped(lambda m, image: (image.clone(), m.conv(image)), IMAGE), (x(*IMAGE),))
    assert bool((first(module, x(*IMAGE)) == x(*IMAGE)).all())


@pytest.mark.parametrize(
    ("clamp", "scale", "zero_point", "removed"),
    [
        (("relu.default",), 0.02, -128, 1),  # -128 is zero: int8 saturates where relu does
        (("relu.default",), 0.02, -127, 0),
        (("relu.default",), 0.02, 0, 0),
        (("relu6.default",), 6 / 255, -128, 1),
        (("relu6.default",), 5.5 / 255, -128, 1),
        (("relu6.default",), 6.1 / 255, -128, 0),
        (("hardtanh.default", 0.0, 1.0), 1 / 256, -128, 1),
        (("hardtanh.default",), 2 / 250, 0, 0),
        (("hardtanh.default",), 1 / 128, 0, 1),
        (("clamp.default", 0.0), 0.02, -128, 1),
        (("clamp.default", None, 0.5), 0.002, 0, 1),
        (("clamp.default", 0.1, None), 0.02, -128, 0),
    ],
)
def test_a_clamp_is_removed_exactly_where_saturation_implies_it(
    clamp: tuple[Any, ...], scale: float, zero_point: int, removed: int
) -> None:
    import torch
    from torch import fx
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  # registers the operators

    from edgeds.quantize.canonical.implied_clamp import implied_clamp

    operators = torch.ops.quantized_decomposed
    name, _, overload = clamp[0].partition(".")
    graph = fx.Graph()
    value = graph.call_function(torch.ops.aten.neg.default, (graph.placeholder("x"),))
    clamped = graph.call_function(getattr(getattr(torch.ops.aten, name), overload), (value, *clamp[1:]))
    parameters = (scale, zero_point, -128, 127, torch.int8)
    graph.output(graph.call_function(operators.quantize_per_tensor.default, (clamped, *parameters)))
    module = fx.GraphModule(torch.nn.Module(), graph)
    values = torch.cat(
        [torch.linspace(-9, 9, 20001), torch.tensor([0.0, -0.0, 6.0, -1.0, float("inf"), -float("inf")])]
    )
    expected = module(values)
    assert implied_clamp(module) == removed
    module.recompile()
    assert bool((module(values) == expected).all())


def test_the_program_of_a_rewritten_graph_can_be_saved(shaped: Callable[..., Any], tmp_path: Path) -> None:
    from edgeds.quantize.canonical import canonicalize

    module, _ = canonicalize(shaped(hardswish_of_a_vector, IMAGE), (x(*IMAGE),))
    program = programs.from_graph_module(module, (IMAGE,))
    programs.save(program, tmp_path / "p")
    (loaded,) = programs.run(programs.load(tmp_path / "p"))(x(*IMAGE))
    assert bool((loaded == first(module, x(*IMAGE))).all())
