"""Gram matrices of what a layer reads: the curvature of its output error in its weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgeds.quantize.weighted import Weighted

TOGETHER = 8  # inputs whose patches are multiplied at once
# Patches of a large kernel take many times the memory of the input; a matrix of so few entries is known from fewer inputs.
FEW = 32


def gram(layer: Weighted, inputs: Sequence[torch.Tensor], centred: bool) -> torch.Tensor:
    """The mean of x·xᵀ over all places and inputs, of x minus its mean if `centred`; [G, n, n] for patches of n elements a group."""
    chosen = inputs if layer.groups == 1 else _few(inputs)
    total, sums, shift, places = torch.zeros(()), torch.zeros(()), torch.zeros(()), 0
    for first in range(0, len(chosen), TOGETHER):
        patches = layer.patches(torch.cat(tuple(chosen[first : first + TOGETHER])))
        if centred:  # near the mean already, so that a constant input leaves no rounding errors of its square
            shift = shift if places else patches.mean(2, keepdim=True)
            patches = patches - shift
        total = total + patches @ patches.transpose(1, 2)
        sums = sums + patches.sum(2)
        places += patches.shape[2]
    mean = sums / places
    found = total / places
    return found - mean.unsqueeze(2) * mean.unsqueeze(1) if centred else found


def _few(inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    count = min(FEW, len(inputs))
    return [inputs[k * len(inputs) // count] for k in range(count)]
