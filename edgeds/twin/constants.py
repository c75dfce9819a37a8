"""Operators of several inputs, some of which are constants of the artifact, some of fewer axes than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeds.errors import ModelError
from edgeds.spec import Array

if TYPE_CHECKING:
    import torch

    from edgeds.twin.graph import Compute


def bind(compute: Compute, constants: Sequence[Array | None]) -> Compute:
    """`compute` with its constant inputs filled in; what is None stays an input."""
    import torch

    if all(constant is None for constant in constants):
        return compute
    held = [None if array is None else torch.from_numpy(np.array(array)) for array in constants]

    def bound(*given: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        rest = iter(given)
        return compute(*(next(rest) if tensor is None else tensor for tensor in held))

    return bound


def broadcast(compute: Compute, constants: Sequence[Array | None], shapes: Sequence[Sequence[int]]) -> Compute:
    """`bind`, for operators that stretch axes of 1. `shapes` are the inputs' in the artifact.

    Axes are paired from the last on. A value of fewer axes must have a batch of 1 there, which is paired with no sample: here, where the
    batch is longer, it stays the first axis.
    """
    rank = max(map(len, shapes))
    short = [constant is None and len(shape) < rank for constant, shape in zip(constants, shapes, strict=True)]
    for shape, is_short in zip(shapes, short, strict=True):
        if is_short and (not shape or shape[0] != 1):
            raise ModelError(f"an input {list(shape)} is stretched to {rank} axes across the batch")
    if not any(short):
        return bind(compute, constants)

    def aligned(*given: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        ones = (1,) * rank
        return compute(
            *(
                x.reshape(len(x), *ones[x.ndim :], *x.shape[1:]) if is_short else x
                for x, is_short in zip(given, short, strict=True)
            )
        )

    return bind(aligned, constants)
