"""Bias correction: what a layer's output is wrong by on the mean goes into its bias (arxiv.org/abs/1906.04721, from data)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def mean_error(exact: Sequence[torch.Tensor], quantized: Sequence[torch.Tensor]) -> torch.Tensor:
    """What to add to the bias, float32 [C]: the mean difference of each channel (axis 1, the last of a linear layer's) of outputs [N, ...]."""
    total = torch.zeros((), dtype=torch.double)
    count = 0
    for right, found in zip(exact, quantized, strict=True):
        difference = _channels_first(right - found)
        total = total + difference.sum(1, dtype=torch.double)
        count += difference.shape[1]
    return (total / count).float()


def _channels_first(value: torch.Tensor) -> torch.Tensor:
    """[C, places]: an image's channels are axis 1, all else has them last."""
    return (value if value.ndim == 4 else value.movedim(-1, 1)).transpose(0, 1).flatten(1)
