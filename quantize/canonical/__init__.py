"""Graph rewrites before quantization: each a function GraphModule → how often it rewrote, in place.

Every rewrite proves itself on the model it runs on: the float output must stay within RELATIVE_TOLERANCE, else it is undone and named.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import fx

from edgeds.quantize.canonical.average_pool import adaptive_average_pool, average_pool
from edgeds.quantize.canonical.batch_norm import batch_norm
from edgeds.quantize.canonical.broadcast import broadcast
from edgeds.quantize.canonical.channel_shuffle import channel_shuffle
from edgeds.quantize.canonical.channels_last import channels_last, norm_between_permutations
from edgeds.quantize.canonical.choose import choose
from edgeds.quantize.canonical.clamp_first import clamp_first
from edgeds.quantize.canonical.constants import constants
from edgeds.quantize.canonical.conv1d import conv1d
from edgeds.quantize.canonical.difference import difference, square
from edgeds.quantize.canonical.duplicates import duplicates
from edgeds.quantize.canonical.elementwise import elementwise
from edgeds.quantize.canonical.full_rank import full_rank
from edgeds.quantize.canonical.functional import functional
from edgeds.quantize.canonical.hardswish import hardsigmoid, hardswish
from edgeds.quantize.canonical.identity import identity
from edgeds.quantize.canonical.join import join
from edgeds.quantize.canonical.layer_norm import layer_norm
from edgeds.quantize.canonical.lines import lines_into_layers_before, lines_into_layers_behind
from edgeds.quantize.canonical.max_pool import max_pool
from edgeds.quantize.canonical.moves import moves
from edgeds.quantize.canonical.padding import padding
from edgeds.quantize.canonical.pixel_shuffle import pixel_shuffle
from edgeds.quantize.canonical.plain_clamp import plain_clamp
from edgeds.quantize.canonical.prelu import prelu
from edgeds.quantize.canonical.same_padding import same_padding
from edgeds.quantize.canonical.scaled_add import scaled_add
from edgeds.quantize.canonical.silu import silu
from edgeds.quantize.canonical.spatial_mean import mean_of_image, spatial_mean
from edgeds.quantize.canonical.spelled import spelled
from edgeds.quantize.canonical.split import slice_of_reshape, split
from edgeds.quantize.canonical.transposed_conv import transposed_conv

Rewrite = Callable[[fx.GraphModule], int]

# For float artifacts: XNNPACK runs hardswish, but hardsigmoid would leave type conversions outside of its delegate.
FLOAT_REWRITES: tuple[Rewrite, ...] = (
    functional,
    identity,
    constants,
    duplicates,
    join,
    choose,
    spelled,  # before `elementwise`, which takes the numbers in them for lines
    plain_clamp,
    scaled_add,
    split,
    moves,
    slice_of_reshape,
    channel_shuffle,
    pixel_shuffle,
    norm_between_permutations,
    channels_last,
    broadcast,
    padding,
    max_pool,
    spatial_mean,
    conv1d,
    same_padding,
    batch_norm,
    square,
    difference,
    elementwise,
    full_rank,
    hardsigmoid,  # before the lines are joined: it is one with a clamp
    moves,
    mean_of_image,
    lines_into_layers_before,
    lines_into_layers_behind,
    layer_norm,
    duplicates,  # again: what was written in two ways is in one now
)
REWRITES: tuple[Rewrite, ...] = (
    *FLOAT_REWRITES,
    transposed_conv,
    pixel_shuffle,
    adaptive_average_pool,
    average_pool,
    silu,
    prelu,
    hardswish,
    clamp_first,
    moves,
    duplicates,
)
RELATIVE_TOLERANCE = 1e-5


def canonicalize(
    module: fx.GraphModule, inputs: Sequence[torch.Tensor], rewrites: Sequence[Rewrite] = REWRITES
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The module after the rewrites, and a sentence for each that had to be undone. `inputs` are real ones, batch included."""
    reference = _outputs(module, inputs)
    undone = []
    for rewrite in rewrites:
        attempt = fx.GraphModule(module, copy.deepcopy(module.graph))  # the tensors are shared: rewrites add others
        if not rewrite(attempt):
            continue
        attempt.graph.eliminate_dead_code()
        attempt.graph.lint()
        attempt.recompile()
        error = _error_of(attempt, inputs, reference)
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


def _error_of(attempt: fx.GraphModule, inputs: Sequence[torch.Tensor], reference: list[torch.Tensor]) -> float:
    """How far the outputs are from the reference; infinite where the rewritten graph does not even run."""
    try:
        return _relative_error(reference, _outputs(attempt, inputs))
    except (RuntimeError, ValueError):
        return math.inf


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
