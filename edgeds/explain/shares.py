"""What each layer's own error does to the final answer: errors are small, so the outputs follow their gradients.

The error of layer k, e_k, reaches outputs y as J_k e_k. For a random v with unit variance the mean of (vᵀ J_k e_k)² is |J_k e_k|²
(M. F. Hutchinson, 1989), and one pass backwards gives vᵀ J_k for all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeds import program as programs
from edgeds.eager import batch
from edgeds.spec import Array, Program, Samples

if TYPE_CHECKING:
    import torch

PROBES = 4


def error_shares(program: Program, samples: Samples, given: Mapping[str, Array]) -> dict[str, float]:
    """The share of each node in the power of the final error; they add up to 1 (all 0 where there is none).

    `given[node]` is what a runtime has there, float32 [N, ...]: its own error is how far that is from what the float program computes
    from the runtime's own values before.
    """
    powers = dict.fromkeys(given, 0.0)
    generator = np.random.default_rng(0)
    for first in range(0, len(samples), program.batch):
        rows = samples.rows(first, program.batch)
        outputs, errors = _forced(program, samples, first, {name: values[rows] for name, values in given.items()})
        for _ in range(PROBES):
            _add(powers, outputs, errors, generator)
    total = sum(powers.values())
    return {name: power / total if total else 0.0 for name, power in powers.items()}


def _forced(
    program: Program, samples: Samples, first: int, given: Mapping[str, Array]
) -> tuple[list[torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """The outputs, and for each node the value that was put there with its own error."""
    import torch
    from torch import fx
    from torch.utils._pytree import tree_leaves

    put: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    class Forced(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            own = super().run_node(n)
            if n.name not in given:
                return own
            error = torch.from_numpy(given[n.name]) - own.detach()
            value = own + error
            value.retain_grad()
            put[n.name] = (value, error)
            return value

    inputs = [x.clone().requires_grad_() if x.is_floating_point() else x for x in batch(samples, first, program.batch)]
    outputs = tree_leaves(Forced(programs.to_graph_module(program)).run(*inputs))
    return [output for output in outputs if output.requires_grad], put


def _add(
    powers: dict[str, float],
    outputs: list[torch.Tensor],
    errors: dict[str, tuple[torch.Tensor, torch.Tensor]],
    generator: np.random.Generator,
) -> None:
    import torch

    total = torch.zeros(())
    for output in outputs:
        probe = generator.standard_normal(output.shape).astype(np.float32)
        total = total + (output * torch.from_numpy(probe)).sum()
    values = [value for value, _ in errors.values()]
    gradients = torch.autograd.grad(total, values, retain_graph=True, allow_unused=True)
    for (name, (_, error)), gradient in zip(errors.items(), gradients, strict=True):
        if gradient is not None:
            powers[name] += float(((gradient * error).flatten(1).sum(dim=1) ** 2).sum())
