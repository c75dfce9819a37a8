"""A change to the float network is kept only where it pays once it is quantized."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from edgeds.quantize import pt2e
from edgeds.quantize.equalize import equalize
from edgeds.quantize.pt2e import quantize_program
from edgeds.quantize.verdict import is_better
from edgeds.spec import Program, Recipe, Samples
from tests.quantize.techniques import folded, inputs, seeded, unbalance

SHAPE = (1, 3, 8, 8)
PLAIN = Recipe("w8c-a8t-minmax")


class Unbalanced(nn.Sequential):
    """Two layers between which some channels are a hundred times narrower than others."""

    def __init__(self) -> None:
        first, second = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)
        super().__init__(first, nn.ReLU(), second)
        unbalance(first, second)


@pytest.fixture
def program(captured: Callable[..., Program]) -> Program:
    return captured(seeded(Unbalanced), SHAPE)


@pytest.fixture
def samples(samples_of: Callable[..., Samples]) -> Samples:
    return samples_of(inputs(24, SHAPE))


def test_of_an_unbalanced_network_and_its_equalized_self_the_equalized_one_is_better(
    program: Program, samples: Samples
) -> None:
    plain = folded(program, samples)
    equalized, _ = equalize(folded(program, samples), samples, 1, PLAIN, lambda done, total: None)
    assert is_better(equalized, plain, samples, 1, PLAIN)
    assert not is_better(plain, equalized, samples, 1, PLAIN)


def test_a_network_is_no_better_than_itself(program: Program, samples: Samples) -> None:
    assert not is_better(folded(program, samples), folded(program, samples), samples, 1, PLAIN)


def test_one_sample_judges_its_own_range(program: Program, samples_of: Callable[..., Samples]) -> None:
    samples = samples_of(inputs(1, SHAPE))
    assert not is_better(folded(program, samples), folded(program, samples), samples, 1, PLAIN)


def test_equalization_that_does_not_pay_is_left_out(
    program: Program, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph(recipe: str) -> Program:
        return quantize_program(program, samples, Recipe(recipe))[0]

    paid = graph("w8c-a8t-minmax+equalize")
    monkeypatch.setattr(pt2e, "is_better", lambda *_: False)
    left_out, plain = graph("w8c-a8t-minmax+equalize"), graph("w8c-a8t-minmax")
    weights = [name for name, array in plain.tensors.items() if array.dtype == "int8"]
    assert all((left_out.tensors[name] == plain.tensors[name]).all() for name in weights)
    assert any((paid.tensors[name] != plain.tensors[name]).any() for name in weights)
