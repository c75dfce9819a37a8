"""What moves or selects integers and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeds.errors import ModelError

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


def reshape(source: Sequence[int], target: Sequence[int]) -> Compute:
    """To another shape with the same batch; shapes are those of the artifact, batch first."""
    if not source or not target or source[0] != target[0]:
        raise ModelError(f"a reshape from {list(source)} to {list(target)} moves samples across the batch axis")
    rest = tuple(target[1:])
    return lambda x: x.reshape(len(x), *rest)


def transpose(order: Sequence[int]) -> Compute:
    """Axes in another order; the first stays."""
    if order[0] != 0:
        raise ModelError(f"a transpose by {list(order)} moves the batch axis")
    return lambda x: x.permute(*order)


def concatenate(axis: int, rank: int) -> Compute:
    """All inputs along `axis`."""
    if axis % rank == 0:
        raise ModelError("a concatenation along the batch axis")

    def compute(*parts: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat(parts, dim=axis)

    return compute


def cut(starts: Sequence[int], ends: Sequence[int], steps: Sequence[int], shape: Sequence[int]) -> Compute:
    """x[start:end:step] along each axis; the batch is left whole. Steps are positive."""
    whole = (starts[0], ends[0], steps[0]) == (0, shape[0], 1)
    if not whole or min(steps) < 1:
        raise ModelError(
            f"a slice [{list(starts)}, {list(ends)}) by {list(steps)} of {list(shape)} cuts the batch or goes backwards"
        )
    index = (slice(None), *(slice(*cut) for cut in zip(starts[1:], ends[1:], steps[1:], strict=True)))
    return lambda x: x[index]


def split(sizes: Sequence[int], axis: int) -> Compute:
    """Pieces of these sizes along `axis`."""
    return lambda x: tuple(piece.contiguous() for piece in x.split(list(sizes), dim=axis))


def pad(before: Sequence[int], after: Sequence[int], value: int) -> Compute:
    """`value` around every axis but the first."""
    if before[0] or after[0]:
        raise ModelError("a pad of the batch axis")
    sides = [n for pair in zip(reversed(before[1:]), reversed(after[1:]), strict=True) for n in pair]

    def compute(x: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        return F.pad(x, sides, value=value)

    return compute
