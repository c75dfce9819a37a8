"""What counts as float: everything that no table knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeds.export.float_steps import CLAMPS, RULES, float_steps
from edgeds.quantize import annotate, operators
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples

SHAPE = (1, 3, 8, 8)


class Head(nn.Module):
    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.conv, self.last, self.function = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), function

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(self.function(self, self.conv(x)))


def sampled(m: Any, y: torch.Tensor) -> torch.Tensor:
    place = F.affine_grid(torch.tensor([[[1.0, 0.1, 0.0], [0.0, 1.0, 0.2]]]), [1, 4, 8, 8], align_corners=False)
    return F.grid_sample(y, place, align_corners=False)


def in_float_all_the_way(m: Any, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.atan(y) + torch.cosh(y).reciprocal())


@pytest.fixture
def steps(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Callable[..., list[str]]:
    def find(function: Callable[[Any, Any], Any]) -> list[str]:
        inputs = np.random.default_rng(0).normal(size=(2, *SHAPE[1:])).astype(np.float32)
        program = captured(Head(function), SHAPE)
        graph = quantize_program(program, samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]
        return [node.target for node in float_steps(graph)]

    return find


def test_the_rules_are_those_of_annotation() -> None:
    sets = (
        operators.WEIGHTED,
        operators.CLAMPS,
        operators.ELEMENTWISE,
        operators.ACTIVATIONS,
        operators.MOVES,
        operators.JOINS,
    )
    known = {str(target) for one in (*sets, annotate.FIXED_OUTPUTS) for target in one}
    assert known | {"aten.mean.dim"} == RULES
    assert {str(target) for target in operators.CLAMPS} == CLAMPS


def test_an_operator_without_a_rule_is_float_though_its_value_is_quantized(steps: Callable[..., list[str]]) -> None:
    assert steps(sampled) == ["aten.grid_sampler.default"]
    assert steps(lambda m, y: torch.roll(y, 1, 2)) == ["aten.roll.default"]


def test_a_comparison_in_front_of_a_choice_is_float_and_the_choice_is_not(steps: Callable[..., list[str]]) -> None:
    assert steps(lambda m, y: torch.where(y > 0.5, y, 0.1)) == ["aten.gt.Scalar"]


def test_what_reads_float_values_is_float_itself(steps: Callable[..., list[str]]) -> None:
    assert "aten.cosh.default" in steps(in_float_all_the_way)


def test_a_clamp_behind_a_layer_is_part_of_it(steps: Callable[..., list[str]]) -> None:
    assert steps(lambda m, y: F.hardtanh(y, -0.1, 0.2)) == []
