"""Weights are rounded so that errors cancel on real inputs, instead of each to the nearest.

With the Gram matrix H of a layer's (quantized) inputs, integers q of scale s cost (qs - w) H (qs - w)ᵀ in the layer's output. GPTQ
(arxiv.org/abs/2210.17323) rounds column by column and lets the columns to come make good for it; coordinate descent then changes single
integers as long as the cost falls. H is centred where the bias is corrected afterwards, which takes the mean error away.
"""

from __future__ import annotations

import torch

LARGEST = 127
# Added to the diagonal of H, as a share of its mean: what inputs that calibration has not seen may be like, and what makes it invertible.
DAMP = 0.01
SWEEPS = 3


def cost(integers: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """What rounding costs each output channel: `integers` and `weight` [G, R, n], `scale` [G, R], `gram` [G, n, n] → [G, R]."""
    error = integers * scale.unsqueeze(2) - weight
    return ((error @ gram) * error).sum(2)


def damped(gram: torch.Tensor) -> torch.Tensor:
    """The matrix with a little of its mean diagonal added: positive definite, also where an input is always 0."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    more = DAMP * diagonal.mean(1, keepdim=True) + 1e-8
    return gram + torch.diag_embed(more.expand_as(diagonal))


def nearest(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Each weight's own nearest integer."""
    return (weight / scale.unsqueeze(2)).round().clamp(-LARGEST, LARGEST)


def rounded(weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Integers in -127..127 that cost no more than the nearest ones, [G, R, n]; `gram` is positive definite, see `damped`."""
    order = gram.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True)  # what matters most is rounded first
    sorted_weight, sorted_gram = weight[:, :, order], gram[:, order][:, :, order]
    found = _descend(_gptq(sorted_weight, scale, sorted_gram), sorted_weight, scale, sorted_gram)
    result = torch.empty_like(found)
    result[:, :, order] = found
    plain = nearest(weight, scale)
    better = cost(result, weight, scale, gram) <= cost(plain, weight, scale, gram)
    return torch.where(better.unsqueeze(2), result, plain)


def _gptq(weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Columns from first to last; an error is passed on along the rows of the upper Cholesky factor of the inverse."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram.double()))
    upper = torch.linalg.cholesky(inverse, upper=True).float()
    left = weight.clone()
    integers = torch.empty_like(weight)
    for k in range(weight.shape[2]):
        column = left[:, :, k]
        integers[:, :, k] = (column / scale).round().clamp(-LARGEST, LARGEST)
        error = (column - integers[:, :, k] * scale) / upper[:, k, k, None]
        left[:, :, k:] -= error.unsqueeze(2) * upper[:, k, None, k:]
    return integers


def _descend(integers: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Moves one integer at a time to where the cost is least, given all others; in place, and returned."""
    slope = (weight - integers * scale.unsqueeze(2)) @ gram
    curvature = gram.diagonal(dim1=1, dim2=2)
    for _ in range(SWEEPS):
        changed = False
        for k in range(weight.shape[2]):
            old = integers[:, :, k]
            new = (old + (slope[:, :, k] / (curvature[:, k, None] * scale)).round()).clamp(-LARGEST, LARGEST)
            move = new - old
            if bool(move.any()):
                changed = True
                slope -= (move * scale).unsqueeze(2) * gram[:, k, None, :]
                integers[:, :, k] = new
        if not changed:
            break
    return integers
