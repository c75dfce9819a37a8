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


def batch(samples: Samples, index: int) -> tuple[torch.Tensor, ...]:
    """One sample as the model's inputs, each [1, ...]."""
    import torch

    return tuple(torch.from_numpy(array[index : index + 1]) for array in samples.inputs)


def run_sample(call: Callable[..., object], samples: Samples, index: int) -> tuple[torch.Tensor, ...]:
    """What `call` answers to one sample, flattened.

    Capture has run the model on zeros only: here DataError names the first sample whose values it does not take, and ModelError
    the first that it answers with NaN or infinity.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    sample = f"sample {samples.names[index]!r} of {samples.source}"
    try:
        with torch.no_grad():
            outputs = tuple(tree_leaves(call(*batch(samples, index))))
    except Exception as error:  # whatever an operator raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"the model does not run on {sample}: {reason}; give samples with values that its forward takes"
        ) from error
    bad = sum(int((~value.isfinite()).sum()) for value in outputs if value.is_floating_point())
    if bad:
        raise ModelError(
            f"the model computes NaN or infinity in {bad} of {sum(value.numel() for value in outputs)} output elements for "
            f"{sample}; check the weights and the preprocessing of the inputs"
        )
    return outputs


def answers(program: Program, samples: Samples) -> tuple[Array, ...]:
    """The program's outputs for all samples, [N, ...] each. Raises like `run_sample`."""
    call = programs.run(program)
    rows = [run_sample(call, samples, index) for index in range(len(samples))]
    return tuple(np.concatenate([row[k].numpy() for row in rows]) for k in range(len(rows[0])))
