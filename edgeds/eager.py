"""Programs run by PyTorch on samples: the references that artifacts are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgeds import program as programs
from edgeds.errors import DataError, ModelError
from edgeds.spec import Array, Program, Samples

if TYPE_CHECKING:
    import torch


def batch(samples: Samples, first: int = 0, size: int = 1) -> tuple[torch.Tensor, ...]:
    """`size` samples from the `first` on as the model's inputs, each [size, ...]; a batch that is not full repeats the last sample."""
    import torch

    rows = samples.rows(first, size)
    return tuple(torch.from_numpy(array[rows]) for array in samples.inputs)


def run_batch(call: Callable[..., object], samples: Samples, first: int = 0, size: int = 1) -> tuple[torch.Tensor, ...]:
    """What `call` answers to one batch (see `batch`), flattened.

    Capture has run the model on zeros only: here DataError names the first samples whose values it does not take, and ModelError
    the first that it answers with NaN or infinity.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    last = min(first + size, len(samples)) - 1
    some = f"sample {samples.names[first]!r}" + (f" to {samples.names[last]!r}" if last > first else "")
    try:
        with torch.no_grad():
            outputs = tuple(tree_leaves(call(*batch(samples, first, size))))
    except Exception as error:  # whatever an operator raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"the model does not run on {some} of {samples.source}: {reason}; give samples with values that its forward takes"
        ) from error
    bad = sum(int((~value.isfinite()).sum()) for value in outputs if value.is_floating_point())
    if bad:
        raise ModelError(
            f"the model computes NaN or infinity in {bad} of {sum(value.numel() for value in outputs)} output elements for "
            f"{some} of {samples.source}; check the weights and the preprocessing of the inputs"
        )
    return outputs


def answers(program: Program, samples: Samples) -> tuple[Array, ...]:
    """The program's outputs for all samples, [N, ...] each. Raises like `run_batch`."""
    call = programs.run(program)
    batches = [run_batch(call, samples, first, program.batch) for first in range(0, len(samples), program.batch)]
    return tuple(
        np.concatenate([part.numpy() for part in parts])[: len(samples)] for parts in zip(*batches, strict=True)
    )
