"""Batch-norm statistics of a model with random weights, from real data, so that its activations have the ranges of a trained one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeds.spec import Samples

if TYPE_CHECKING:
    import torch

BATCH = 16


def set_batch_norm_statistics(module: torch.nn.Module, samples: Samples) -> None:
    """Sets the running mean and variance of every batch-norm to the average over batches of `samples`; leaves the module in eval mode."""
    import torch

    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    with torch.no_grad():
        for start in range(0, len(samples), BATCH):
            module(*(torch.from_numpy(array[start : start + BATCH]) for array in samples.inputs))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
