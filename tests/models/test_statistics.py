"""set_batch_norm_statistics: the averages that it sets, and a module that is otherwise as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeds.errors import DataError
from edgeds.models.statistics import BATCH, set_batch_norm_statistics
from edgeds.spec import Array, Samples


def samples(array: Array) -> Samples:
    names = tuple(f"photo {n}" for n in range(len(array)))
    return Samples((array.astype(np.float32),), names, names, "photos", "0" * 64)


def noise(count: int, *shape: int) -> Array:
    return np.random.default_rng(0).normal(3.0, 2.0, (count, *shape))


def norm_of(array: Array) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(array.shape[1]).eval()
    set_batch_norm_statistics(norm, samples(array))
    return norm


def test_one_batch_gives_its_mean_and_unbiased_variance() -> None:
    array = noise(5, 3, 4, 4)
    norm = norm_of(array)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.numpy() == pytest.approx(array.mean((0, 2, 3)), rel=1e-5)
    assert norm.running_var.numpy() == pytest.approx(array.var((0, 2, 3), ddof=1), rel=1e-5)


@pytest.mark.parametrize("count", [2 * BATCH, 2 * BATCH + 1, 3 * BATCH - 1])
def test_every_sample_weighs_nearly_the_same_whatever_their_number(count: int) -> None:
    array = noise(count, 2, 3, 3)
    array[-1] += 100.0
    mean = norm_of(array).running_mean
    assert mean is not None
    assert mean.numpy() == pytest.approx(array.mean((0, 2, 3)), rel=0.05)


def test_a_single_pixel_has_statistics_where_one_sample_is_left_over() -> None:
    assert norm_of(noise(BATCH + 1, 2, 1, 1)).num_batches_tracked == 2


def test_a_module_with_a_fixed_batch_gets_exactly_that() -> None:
    class Rigid(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).view(4, -1)

    norm = Rigid(2).eval()
    set_batch_norm_statistics(norm, samples(noise(10, 2, 3, 3)), batch=4)
    assert norm.num_batches_tracked == 3  # the third is filled up


def test_a_later_norm_sees_what_the_earlier_one_normalized() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2)).eval()
    set_batch_norm_statistics(net, samples(noise(8, 2, 4, 4)))
    found = net.state_dict()
    assert found["1.running_mean"].numpy() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert found["1.running_var"].numpy() == pytest.approx([1.0, 1.0], rel=0.02)


def test_the_module_is_otherwise_as_before() -> None:
    norm, conv = nn.BatchNorm2d(2, momentum=0.3), nn.Conv2d(2, 2, 1)
    net = nn.Sequential(nn.Dropout(0.9), norm, conv).eval()
    weights = conv.weight.detach().clone()
    set_batch_norm_statistics(net, samples(noise(4, 2, 4, 4)))
    assert not any(part.training for part in net.modules())
    assert norm.momentum == 0.3
    assert torch.equal(conv.weight, weights)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_second_call_forgets_the_first() -> None:
    norm, again = norm_of(noise(4, 2, 4, 4) + 50.0), noise(4, 2, 4, 4)
    set_batch_norm_statistics(norm, samples(again))
    assert norm.running_mean is not None
    assert norm.running_mean.numpy() == pytest.approx(again.mean((0, 2, 3)), rel=1e-5)


def test_too_little_data_is_one_clear_line() -> None:
    norm = nn.BatchNorm2d(2).eval()
    with pytest.raises(
        DataError, match=r"^batch-norm statistics need samples, and photos has none; give more .* data$"
    ):
        set_batch_norm_statistics(norm, samples(noise(0, 2, 4, 4)))
    with pytest.raises(
        DataError, match=r"^batch-norm statistics need more than 1 sample of photos: .* give more .* data$"
    ):
        set_batch_norm_statistics(norm, samples(noise(1, 2, 1, 1)))


def test_a_forward_that_fails_leaves_the_module_in_eval_mode() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(2, momentum=0.3)

        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no luck")

    net = Failing().eval()
    with pytest.raises(ValueError, match="no luck"):
        set_batch_norm_statistics(net, samples(noise(2, 2, 4, 4)))
    assert (net.norm.training, net.norm.momentum) == (False, 0.3)
