"""Graph rewrites before quantization: each a function GraphModule → how often it rewrote, in place.

Every rewrite proves itself on the model it runs on: the float output must stay within RELATIVE_TOLERANCE, else it is undone and named.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import fx

from edgeds.quantize.canonical.constants import constants
from edgeds.quantize.canonical.functional import functional
from edgeds.quantize.canonical.hardswish import hardsigmoid, hardsigmoid_into_conv, hardswish
from edgeds.quantize.canonical.identity import identity
from edgeds.quantize.canonical.same_padding import same_padding
from edgeds.quantize.canonical.scaled_add import scaled_add
from edgeds.quantize.canonical.spatial_mean import spatial_mean

Rewrite = Callable[[fx.GraphModule], int]

# For float artifacts: XNNPACK runs hardswish, but hardsigmoid would leave type conversions outside of its delegate.
FLOAT_REWRITES: tuple[Rewrite, ...] = (
    functional,
    identity,
    constants,
    same_padding,
    scaled_add,
    spatial_mean,
    hardsigmoid_into_conv,
    hardsigmoid,
)
REWRITES: tuple[Rewrite, ...] = (*FLOAT_REWRITES, hardswish)
RELATIVE_TOLERANCE = 1e-5


def canonicalize(
    module: fx.GraphModule, inputs: Sequence[torch.Tensor], rewrites: Sequence[Rewrite] = REWRITES
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The module after the rewrites, and a sentence for each that had to be undone. `inputs` are real ones, batch included."""
    reference = _outputs(module, inputs)
    undone = []
    for rewrite in rewrites:
        attempt = copy.deepcopy(module)
        if not rewrite(attempt):
            continue
        attempt.graph.eliminate_dead_code()
        attempt.graph.lint()
        attempt.recompile()
        error = _relative_error(reference, _outputs(attempt, inputs))
        if error <= RELATIVE_TOLERANCE:
            module = attempt
        else:
            undone.append(
                f"rewrite {rewrite.__name__} changed the float output by {error:.1e} (relative) and was undone"
            )
    return module, tuple(undone)


def _outputs(module: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        return [value for value in tree_leaves(module(*inputs)) if isinstance(value, torch.Tensor)]


def _relative_error(reference: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    errors = [_error(a, b) for a, b in zip(reference, other, strict=True)]
    return max(errors, default=0.0)


def _error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference over the largest value; infinite where shapes, types or NaNs differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    difference = (a - b).abs() if a.is_floating_point() else (a != b).float()
    same = torch.where(a == b, torch.zeros_like(difference), difference)  # infinity - infinity is no difference
    same = torch.where(a.isnan() & b.isnan(), torch.zeros_like(same), same)
    error = float(same.max() / a.abs().max().clamp_min(1e-30)) if a.numel() else 0.0
    return error if math.isfinite(error) else math.inf
