"""The level that one draw in PERIOD exceeds."""

from __future__ import annotations

import math

import pytest
import torch

from edgeds.quantize.tail import PERIOD, has_few_elements, level, level_of


def test_one_draw_of_gumbels_distribution_in_period_exceeds_the_level() -> None:
    uniform = torch.rand(400_000, generator=torch.Generator().manual_seed(0)).clamp(1e-7, 1 - 1e-7)
    draws = 3 - 2 * (-uniform.log()).log()  # location 3, scale 2
    exact = 3 - 2 * math.log(-math.log(1 - 1 / PERIOD))
    assert float(level(draws.mean(), draws.square().mean())) == pytest.approx(exact, rel=0.01)
    assert float((draws > exact).float().mean()) == pytest.approx(1 / PERIOD, rel=0.1)


def test_what_does_not_vary_has_no_tail() -> None:
    assert level_of(torch.full((50,), 4.0)) == pytest.approx(4.0, abs=1e-3)


def test_a_level_is_never_below_what_was_seen() -> None:
    draws = torch.tensor([0.0] * 999 + [50.0])
    assert level_of(draws) == 50.0


def test_channels_have_a_level_each() -> None:
    draws = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    found = level(draws.mean(0), draws.square().mean(0))
    assert found[1] == pytest.approx(10 * float(found[0]))
    assert float(found[0]) > 3.0


@pytest.mark.parametrize(
    ("target", "arguments", "shape", "expected"),
    [
        ("linear", (), (1, 5), True),
        ("relu", (), (1, 8, 1, 1), True),
        ("relu6", (), (1, 8, 1, 1), False),
        ("hardtanh", (-1.0, 1.0), (1, 8), False),
        ("conv2d", (), (1, 8, 4, 4), False),
        ("sum", (), (1,), False),
    ],
)
def test_few_elements_are_one_of_a_channel_that_no_clamp_bounds_above(
    target: str, arguments: tuple[float, ...], shape: tuple[int, ...], expected: bool
) -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(getattr(torch.ops.aten, target).default, (x, *arguments))
    node.meta["val"] = torch.zeros(shape)
    assert has_few_elements(node) is expected
