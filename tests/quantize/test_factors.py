from __future__ import annotations

import pytest
import torch

from edgeds.quantize.factors import Activation, Bounds, Reader, best_factors, noise

ONE, TWO = torch.tensor([1, 2]), torch.tensor([[1, 2]])
FREE = Bounds(torch.tensor([1.0, 1 / 16, 1 / 16]), torch.tensor([1.0, 16.0, 16.0]))


def activation(*above: float) -> Activation:
    return Activation(ONE, torch.zeros(2), torch.tensor(above), torch.ones(2))


def test_the_noise_of_a_tensor_is_a_twelfth_of_its_squared_step_for_each_channel() -> None:
    step = 5.1 / 255
    assert noise(torch.ones(3), [[activation(5.1, 0.3)]], []).item() == pytest.approx(2 * step**2 / 12)


def test_the_noise_of_weights_is_that_of_their_step_on_what_they_read() -> None:
    reader = Reader(TWO, torch.tensor([[[12.7, 1.0]]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0]]))
    assert noise(torch.ones(3), [], [reader]).item() == pytest.approx(0.1**2 / 12 * 7 * 2)


def test_without_weights_all_channels_get_the_same_range() -> None:
    best, least, before = best_factors([[activation(4.0, 0.5)]], [], FREE)
    assert best[2] / best[1] == pytest.approx(8, rel=0.01)
    assert least / before == pytest.approx((1 + 1 / 64) / 2, rel=0.01)


def test_factors_stay_within_their_bounds() -> None:
    tight = Bounds(torch.tensor([1.0, 1.0, 1 / 16]), torch.tensor([1.0, 1.0, 2.0]))
    best, _, _ = best_factors([[activation(4.0, 0.5)]], [], tight)
    assert best.tolist() == pytest.approx([1, 1, 2])


def test_tensors_of_one_step_are_scaled_as_one() -> None:
    wide = Activation(torch.tensor([0]), torch.zeros(1), torch.tensor([8.0]), torch.ones(1))
    best, _, _ = best_factors([[activation(4.0, 0.5), wide]], [], FREE)
    assert best[1:].tolist() == pytest.approx([2, 16], rel=0.05)
