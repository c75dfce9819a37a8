"""What stands between convolutions becomes operators that all three runtimes have in integers, and keeps its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples
from tests.quantize.structures import IMAGE, SERIES, STRUCTURES, Net, Series, made

if TYPE_CHECKING:
    from torch import fx

Capture = Callable[..., Program]


def x(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def canonical(captured: Capture, module: nn.Module, shape: tuple[int, ...]) -> fx.GraphModule:
    """The canonical graph of a module; asserts that no rewrite was undone and that the values are the same."""
    from edgeds.quantize import pt2e
    from edgeds.quantize.canonical import RELATIVE_TOLERANCE, canonicalize

    before = pt2e._with_values(captured(module, shape))
    expected = before(x(*shape))
    after, undone = canonicalize(before, (x(*shape),))
    found = after(x(*shape))
    assert undone == ()
    assert [v.shape for v in leaves(found)] == [v.shape for v in leaves(expected)]
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        assert float((a - b).abs().max()) <= RELATIVE_TOLERANCE * float(b.abs().max())
    return after


def leaves(value: Any) -> list[torch.Tensor]:
    from torch.utils._pytree import tree_leaves

    return tree_leaves(value)


def names(module: fx.GraphModule) -> str:
    return " ".join(str(n.target).split(".")[1] for n in module.graph.nodes if n.op == "call_function")


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_becomes_operators_that_all_runtimes_have_in_integers(captured: Capture, name: str) -> None:
    expected = STRUCTURES[name][1].split()
    found = names(canonical(captured, made(name), IMAGE)).split()
    last = [] if expected[-1:] == ["linear"] or name.startswith(("layer scale of", "batch-norm of")) else ["conv2d"]
    assert found == ["conv2d", "relu", *expected, *last]


def test_a_series_becomes_an_image_one_row_high_from_end_to_end(captured: Capture) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Series().eval()
    expected = "reshape conv2d relu max_pool2d conv2d relu add add cat slice mean reshape linear"
    assert names(canonical(captured, module, SERIES)) == expected


def test_a_batch_of_several_is_rewritten_as_well(captured: Capture) -> None:
    for name in ("chunk and shuffle", "unbind and select", "adaptive pool to another size", "pixel shuffle"):
        assert names(canonical(captured, made(name), (3, *IMAGE[1:]))) == names(canonical(captured, made(name), IMAGE))


def test_the_normalization_of_an_input_goes_into_the_first_convolution_only_where_it_pads_with_nothing(
    captured: Capture,
) -> None:
    class Normalized(nn.Module):
        def __init__(self, padding: int) -> None:
            super().__init__()
            self.mean, self.std = nn.Buffer(torch.rand(1, 3, 1, 1)), nn.Buffer(torch.rand(3, 1, 1) + 0.5)
            self.conv = nn.Conv2d(3, 4, 3, padding=padding)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv((image - self.mean) / self.std)
            return y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert names(canonical(captured, Normalized(0).eval(), IMAGE)) == "conv2d"
        assert names(canonical(captured, Normalized(1).eval(), IMAGE)) == "conv2d conv2d"


def test_a_batch_norm_behind_a_convolution_is_left_to_pt2e(captured: Capture) -> None:
    class Usual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.norm(self.conv(image))
            return y

    assert names(canonical(captured, Usual().eval(), IMAGE)) == "conv2d batch_norm"


def test_a_cast_of_floats_to_floats_goes_and_one_of_a_mask_stays(captured: Capture) -> None:
    def forward(m: Any, y: torch.Tensor) -> Any:
        return m.head(y.float().to(torch.float32).type_as(y)), (y > 1).float()

    found = names(canonical(captured, Net(forward).eval(), IMAGE)).split()
    assert found.count("to") == 1 and not {"type_as", "_to_copy"} & set(found)


def test_a_copy_before_a_view_may_go(captured: Capture) -> None:
    """contiguous is an identity but for the view behind it, which cannot take what transpose makes."""

    def forward(m: Any, y: torch.Tensor) -> Any:
        return m.head(y.transpose(2, 3).contiguous().view(1, 8, 144, 1))

    assert names(canonical(captured, Net(forward).eval(), IMAGE)) == "conv2d relu permute reshape conv2d"


def test_a_chain_of_sums_in_place_is_rewritten(captured: Capture) -> None:
    def forward(m: Any, y: torch.Tensor) -> Any:
        total = m.depthwise(y)
        total += m.twin(y)
        total += y
        total += 1
        return m.head(total)

    assert names(canonical(captured, Net(forward).eval(), IMAGE)) == "conv2d relu conv2d conv2d add add conv2d"


def test_pixels_that_are_scaled_before_a_layer_with_batch_norm_are_scaled_in_its_weights(captured: Capture) -> None:
    """PT2E folds the batch-norm into weights that a rewrite has made: x / 255 is how many models begin."""
    from edgeds.quantize.pt2e import quantize_program

    module = Net(lambda m, y: m.head(F.relu(m.norm(m.depthwise(y / 255.0))))).eval()
    program = captured(module, IMAGE)
    names_of_four = tuple("abcd")
    samples = Samples((x(4, *IMAGE[1:]).numpy(),), names_of_four, names_of_four, "normal", "")
    graph, _, undone = quantize_program(program, samples, Recipe("fast"))
    operators = [node.target for node in graph.nodes if node.op == "call_function"]
    assert not undone
    assert not [name for name in operators if "batch_norm" in name or "mul" in name or "div" in name]


def test_a_tensor_of_zeros_in_the_shape_of_another_is_a_constant(captured: Capture) -> None:
    def forward(m: Any, y: torch.Tensor) -> Any:
        return m.head(torch.cat([y[:, :4], torch.zeros_like(y[:, 4:])], 1))

    assert names(canonical(captured, Net(forward).eval(), IMAGE)) == "conv2d relu slice cat conv2d"


def test_permutations_that_cancel_out_go_and_those_of_short_axes_are_reshapes(captured: Capture) -> None:
    def forward(m: Any, y: torch.Tensor) -> Any:
        there_and_back = y.permute(0, 2, 3, 1).transpose(1, 3).transpose(2, 3)
        pooled = there_and_back.mean((2, 3), keepdim=True).permute(0, 2, 3, 1)
        return m.linear(pooled.squeeze(1).flatten(1))

    assert names(canonical(captured, Net(forward).eval(), IMAGE)) == "conv2d relu mean reshape linear"


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        ("permute", ([0, 2, 1, 3],)),
        ("transpose", (1, 3)),
        ("movedim", (1, -1)),
        ("swapaxes", (-1, -2)),
    ],
)
def test_every_spelling_of_a_permutation_is_read_right(operator: str, args: Sequence[Any]) -> None:
    from torch import fx

    from edgeds.quantize.canonical.moves import permutation

    graph = fx.Graph()
    source = graph.placeholder("x")
    source.meta["val"] = torch.empty(2, 3, 2, 3)
    packet = getattr(torch.ops.aten, operator)
    node = graph.call_function(packet.default if operator in ("permute", "swapaxes") else packet.int, (source, *args))
    value = torch.arange(36).reshape(2, 3, 2, 3)
    assert bool((value.permute(permutation(node)) == getattr(value, operator)(*args)).all())


def test_what_is_no_line_stays(captured: Capture) -> None:
    """A constant over places, and a value that is divided by."""

    def forward(m: Any, y: torch.Tensor) -> Any:
        return m.head(m.table * y + 2 / (y + 1))

    found = names(canonical(captured, Net(forward).eval(), IMAGE)).split()
    assert "mul" in found and ("div" in found or "reciprocal" in found)
