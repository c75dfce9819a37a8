"""How much noise at the outputs comes from noise on each value: first order, from gradients.

Independent noise of variance v on every element of a channel adds v · Σ (∂output/∂element)² to the outputs. The sum over outputs is estimated
with random signs (Hutchinson's trick: E[(sᵀJ)²] is the column sum of J²), one backward pass a sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgeds.eager import batch
from edgeds.quantize.watch import Progress
from edgeds.spec import Samples

SAMPLES = 32  # the sum over places and channels averages: more change nothing that is seen in dB
SEED = 0


def sensitivities(
    module: fx.GraphModule, samples: Samples, size: int, wanted: Iterable[fx.Node], progress: Progress
) -> dict[fx.Node, torch.Tensor]:
    """Noise-to-signal ratio at the outputs for noise of variance 1 on a channel (axis 1) of a value, float32 [C] each.

    Elements that are exactly 0 count as noiseless: a zero is always exact in int8. Every output counts the same, whatever its size.
    """
    kept = set(wanted)
    signs = torch.Generator().manual_seed(SEED)
    found: dict[fx.Node, torch.Tensor] = {}
    chosen = _spread(samples, size)
    for done, first in enumerate(chosen, 1):
        for node, (value, gradient) in _gradients(module, batch(samples, first, size), kept, signs).items():
            found[node] = found.get(node, torch.zeros(())) + _per_channel(value, gradient) / len(chosen)
        progress(done, len(chosen))
    return found


def _gradients(
    module: fx.GraphModule, inputs: tuple[torch.Tensor, ...], kept: set[fx.Node], signs: torch.Generator
) -> dict[fx.Node, tuple[torch.Tensor, torch.Tensor]]:
    """Each kept value, and the gradient of the outputs' sum with random signs in it; values that no output depends on are missing."""
    values: dict[fx.Node, torch.Tensor] = {}

    class Keep(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n in kept and value.requires_grad:
                values[n] = value
            return value

    with torch.enable_grad():
        floats = [x.requires_grad_() if x.is_floating_point() else x for x in inputs]
        outputs = [y for y in tree_leaves(Keep(module).run(*floats)) if y.requires_grad]
        if not outputs:
            return {}
        total = sum((_projected(y, signs) for y in outputs), start=torch.zeros(()))
        found = torch.autograd.grad(total, list(values.values()), allow_unused=True)
    pairs = zip(values.items(), found, strict=True)
    return {node: (value.detach(), gradient) for (node, value), gradient in pairs if gradient is not None}


def _spread(samples: Samples, size: int) -> list[int]:
    """Where the batches begin that gradients are taken of: SAMPLES of them at most, from all over."""
    firsts = range(0, len(samples), size)
    count = min(len(firsts), SAMPLES)
    return [firsts[k * len(firsts) // count] for k in range(count)]


def _projected(output: torch.Tensor, signs: torch.Generator) -> torch.Tensor:
    """The sum of the elements with random signs, in units of the output's root sum of squares."""
    sign = torch.randint(0, 2, output.shape, generator=signs) * 2 - 1
    return (output * sign).sum() / output.detach().square().sum().sqrt().clamp_min(1e-12)


def _per_channel(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The sum of squared gradients over the elements of each channel (axis 1) that are not exactly 0."""
    across = [axis for axis in range(value.ndim) if axis != 1]
    return (gradient.square() * (value != 0)).sum(across)
