"""Batch-norm statistics of a model with random weights, from real data, so that its activations have the ranges of a trained one's."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from edgeds import eager
from edgeds.errors import DataError
from edgeds.spec import Samples

if TYPE_CHECKING:
    import torch

BATCH = 16


def set_batch_norm_statistics(module: torch.nn.Module, samples: Samples, batch: int = 1) -> None:
    """Sets each batch-norm's running mean and variance to the average over batches of `samples`.

    A module that takes a `batch` of more than one is fed exactly so many at once.

    The module is otherwise as before, also where this fails. Raises DataError where there are no samples, or one that leaves
    a batch-norm a single number a channel, which has no variance.
    """
    import torch

    if not len(samples):
        raise DataError(
            f"batch-norm statistics need samples, and {samples.source} has none; give more calibration data"
        )
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.training) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
            norm.train()
        _feed(module, samples, batch)
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


def _feed(module: torch.nn.Module, samples: Samples, batch: int) -> None:
    """A forward of every sample, in batches that are equal up to one: each counts the same in the average, and a rest of one
    sample could have no variance."""
    import torch

    count = math.ceil(len(samples) / BATCH)
    edges = (
        [len(samples) * k // count for k in range(count + 1)] if batch == 1 else range(0, len(samples) + batch, batch)
    )
    for first, end in itertools.pairwise(edges):
        try:
            with torch.no_grad():
                module(*eager.batch(samples, first, end - first))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise DataError(
                f"batch-norm statistics need more than {end - first} sample of {samples.source}: a layer sees one number a "
                "channel, which has no variance; give more calibration data"
            ) from error
