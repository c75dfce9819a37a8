from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.errors import InputError
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.steps import SHARES, best_range, refine_steps
from edgeds.spec import Program, Recipe, Samples
from tests.quantize.techniques import SHAPE, Inverted, folded, inputs, seeded

NOTHING = torch.zeros(len(SHARES))


def test_a_range_that_nothing_needs_is_cut_as_far_as_may_be() -> None:
    assert best_range(-1.0, 2.0, 1.0, [NOTHING], [NOTHING]) == (-0.7, 1.4)


def test_a_range_whose_ends_count_is_kept() -> None:
    dear = torch.tensor([0.0, *[1.0] * (len(SHARES) - 1)])
    assert best_range(-1.0, 2.0, 1.0, [dear], [dear]) == (-1.0, 2.0)
    assert best_range(-1.0, 2.0, 1.0, [NOTHING], [dear]) == (-0.7, 2.0)


def test_a_cut_costs_as_much_as_the_step_gains_at_the_share_where_they_meet() -> None:
    gain = [(1.0 - share**2) * (2.0 / 255) ** 2 / 12 * 9.0 for share in SHARES]
    below_gain, above_gain = (torch.tensor([factor * g for g in gain]).sqrt() for factor in (0.9, 1.1))
    assert best_range(0.0, 2.0, 9.0, [NOTHING], [below_gain])[1] < 2.0
    assert best_range(0.0, 2.0, 9.0, [NOTHING], [above_gain])[1] == 2.0


def test_ranges_only_shrink_and_keep_zero(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> None:
    samples = samples_of(inputs())
    prepared = prepare_pt2e(
        folded(captured(seeded(Inverted), SHAPE), samples), SeparableConvQuantizer(Recipe("w8c-a8t-minmax"))
    )
    with torch.no_grad():
        for k in range(len(samples)):
            prepared(torch.from_numpy(samples.inputs[0][k : k + 1]))
    observers = [m for m in prepared.modules() if type(m) is MinMaxObserver]
    before = [(float(m.min_val), float(m.max_val)) for m in observers]
    refine_steps(prepared, samples, 1, lambda done, total: None)
    after = [(float(m.min_val), float(m.max_val)) for m in observers]
    assert all(min(a, 0) * 0.6999 >= low >= min(a, 0) for (a, _), (low, _) in zip(before, after, strict=True))
    assert all(max(b, 0) * 0.6999 <= high <= max(b, 0) for (_, b), (_, high) in zip(before, after, strict=True))
    assert after != before


def test_steps_need_the_extremes() -> None:
    with pytest.raises(InputError, match="steps, which narrow the ranges of minmax; write w8c-a8t-minmax before it"):
        Recipe("w8c-a8t-histogram+steps")
