"""Operators some of whose inputs are constants of the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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
