from __future__ import annotations

import itertools

import pytest
import torch

from edgeds.quantize.rounding import cost, damped, nearest, rounded


def problem(groups: int, outputs: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights, scales, and the Gram matrix of inputs that hang together."""
    generator = torch.Generator().manual_seed(columns)
    weight = torch.randn(groups, outputs, columns, generator=generator)
    mixed = torch.randn(groups, columns, 3 * columns, generator=generator)
    mixed += torch.randn(groups, 1, 3 * columns, generator=generator)
    scale = weight.abs().amax(2) / 7  # few levels, so that rounding matters
    return weight, scale, damped(mixed @ mixed.transpose(1, 2) / (3 * columns))


def test_rounding_costs_never_more_than_the_nearest_integers_and_mostly_much_less() -> None:
    weight, scale, gram = problem(groups=2, outputs=16, columns=32)
    ours, plain = (cost(q, weight, scale, gram) for q in (rounded(weight, scale, gram), nearest(weight, scale)))
    assert bool((ours <= plain).all())
    assert ours.sum() < 0.5 * plain.sum()


def test_rounding_finds_the_best_of_all_integers_of_a_small_problem() -> None:
    weight, scale, gram = problem(groups=1, outputs=6, columns=3)
    candidates = torch.tensor(list(itertools.product(range(-9, 10), repeat=3))).float()
    every = torch.stack([cost(q.expand_as(weight), weight, scale, gram) for q in candidates])
    found = cost(rounded(weight, scale, gram), weight, scale, gram).sum()
    assert float(found) == pytest.approx(float(every.amin(0).sum()), rel=0.05)


def test_with_inputs_that_do_not_hang_together_rounding_is_to_the_nearest() -> None:
    weight, scale, _ = problem(groups=3, outputs=4, columns=9)
    gram = torch.diag_embed(torch.rand(3, 9) + 0.1)
    assert torch.equal(rounded(weight, scale, gram), nearest(weight, scale))


def test_rounding_stays_in_symmetric_int8() -> None:
    weight, scale, gram = problem(groups=1, outputs=8, columns=16)
    integers = rounded(weight, scale / 100, gram)
    assert integers.abs().max() == 127 and torch.equal(integers, integers.round())


def test_an_input_that_is_always_zero_is_rounded_to_the_nearest() -> None:
    weight, scale, gram = problem(groups=1, outputs=8, columns=16)
    silent = gram.clone()
    silent[:, 5, :] = silent[:, :, 5] = 0
    integers = rounded(weight, scale, damped(silent))
    assert torch.equal(integers[:, :, 5], nearest(weight, scale)[:, :, 5])
