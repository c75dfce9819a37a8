"""Writes in place, and what reads the written memory later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from edgeds.errors import ModelError
from edgeds.quantize.canonical.functional import functional
from edgeds.spec import Program
from tests.quantize.structures import IMAGE, Net
from tests.quantize.test_structure import canonical, names

Capture = Callable[..., Program]
Write = Callable[[torch.Tensor], Any]


def a_number_into_a_slice(y: torch.Tensor) -> None:
    y[:, :1] = 0.5


def a_sum_into_a_slice(y: torch.Tensor) -> None:
    y[:, 2:4] += y[:, 4:6]


def a_value_into_a_slice(y: torch.Tensor) -> None:
    y[:, :4] = F.silu(y[:, 4:])


def a_value_into_all(y: torch.Tensor) -> None:
    y[:] = F.silu(y)


def through_another_shape(y: torch.Tensor) -> None:
    y.view(1, -1).relu_()


def into_chunks_of_it(y: torch.Tensor) -> None:
    first, second = y.chunk(2, 1)
    first.add_(second)
    second.mul_(first)


def through_a_transposition(y: torch.Tensor) -> torch.Tensor:
    z = y.transpose(2, 3)
    z[:, :, 1:3] = z[:, :, 3:5].sigmoid()
    return y + z.transpose(2, 3)


def into_parts_of_parts(y: torch.Tensor) -> None:
    y[:, 0] = 0
    y[:, 3, 2:4, 1:5] *= 2
    y[..., -1].zero_()
    y[:, 5:6].fill_(1.5)
    y.narrow(2, 1, 2).neg_()


def into_views_of_views(y: torch.Tensor) -> torch.Tensor:
    z = y[:, :4]
    w = z[:, 1:3]
    w.relu_()
    z.mul_(2)
    y.add_(1)
    return torch.cat([y[:, 4:], z.sigmoid(), w, w], 1)[:, :8]


def into_a_copy(y: torch.Tensor) -> torch.Tensor:
    z = y.transpose(2, 3).reshape(1, 8, -1)  # cannot be a view
    z[:, :, :7].clamp_(0, 1)
    return y * z.reshape(y.shape)


@pytest.mark.parametrize(
    "write",
    [
        a_number_into_a_slice,
        a_sum_into_a_slice,
        a_value_into_a_slice,
        a_value_into_all,
        through_another_shape,
        into_chunks_of_it,
        through_a_transposition,
        into_parts_of_parts,
        into_views_of_views,
        into_a_copy,
    ],
    ids=lambda write: write.__name__.replace("_", " "),
)
def test_what_reads_a_written_memory_reads_the_new_values(captured: Capture, write: Write) -> None:
    """`canonical` compares with PyTorch, whose memory it is."""
    calls = names(canonical(captured, net(write), IMAGE)).split()
    assert calls and not [name for name in calls if name.endswith("_")]


def test_a_sum_into_a_slice_is_put_together_once(captured: Capture) -> None:
    """Python adds to the slice and then assigns the slice to itself."""
    calls = names(canonical(captured, net(a_sum_into_a_slice), IMAGE)).split()
    assert calls.count("cat") == 1 and calls.count("add") == 1


def test_a_write_that_no_other_view_reads_costs_nothing(captured: Capture) -> None:
    calls = names(canonical(captured, net(lambda y: y.flatten(2).relu_().reshape(IMAGE[0], 8, 12, 12)), IMAGE)).split()
    assert "cat" not in calls and "slice" not in calls


def test_a_write_into_every_other_channel_is_refused_with_what_to_do(captured: Capture) -> None:
    from edgeds.quantize import pt2e

    def stripes(y: torch.Tensor) -> None:
        y[:, ::2] = 0.5

    with pytest.raises(ModelError, match=r"^aten\.fill_\.Tensor changes a part of a tensor .* instead \(torch\.cat"):
        functional(pt2e._with_values(captured(net(stripes), IMAGE)))


def test_a_write_that_cannot_be_followed_is_let_be_where_nobody_reads_it_later(captured: Capture) -> None:
    def forgotten(y: torch.Tensor) -> torch.Tensor:
        z = y + 1
        y[:, ::2] = 0.5
        return z

    assert "fill_" not in names(canonical(captured, net(forgotten), IMAGE))


def net(write: Write) -> Net:
    """A net whose middle writes into its value, and goes on with it or with what `write` returns."""

    def forward(_: Any, y: torch.Tensor) -> torch.Tensor:
        result = write(y)
        return y if result is None else result

    return Net(forward).eval()
