"""Is a layer right? Each layer of a program is computed from the runtime's own input to it, and compared with what the runtime gave.

An error that a layer inherits is so told from one that it makes: rounding makes a step or two, a bug many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeds import program as programs
from edgeds.eager import batch
from edgeds.export.taps import Tap, taps
from edgeds.spec import Array, LayerError, Program, Samples

if TYPE_CHECKING:
    import torch
    from torch import fx


def layer_errors(program: Program, samples: Samples, values: Sequence[Array | None]) -> tuple[LayerError, ...]:
    """One entry a tap, in the order of the graph.

    `values[k]` is what a runtime gave for the k-th tap of the program on all samples, float32 [N, ...]; where it is None, PyTorch's own
    value stands in, and its error is 0.
    """
    watched = taps(program)
    worst = [0.0] * len(watched)
    wrong = [0] * len(watched)
    module = programs.to_graph_module(program)
    for first in range(0, len(samples), program.batch):
        rows = samples.rows(first, program.batch)
        given = [None if value is None else value[rows] for value in values[: len(watched)]]
        for k, error in enumerate(_errors(module, watched, batch(samples, first, program.batch), given)):
            error = error[: len(samples) - first]
            worst[k] = max(worst[k], float(error.max(initial=0.0)))
            wrong[k] += int(np.count_nonzero(error > 1))
    return tuple(
        LayerError(
            step=tap.step,
            operator=tap.operator,
            module=tap.module,
            max_error=worst[k],
            share=wrong[k] / max(0 if (value := values[k]) is None else value.size, 1),
            quantized=tap.scale is not None,
            source=tap.source,
        )
        for k, tap in enumerate(watched)
    )


def _errors(
    module: fx.GraphModule, watched: Sequence[Tap], inputs: tuple[torch.Tensor, ...], given: Sequence[Array | None]
) -> list[Array]:
    """For each tap how far every element is off: in quantization steps, or in thousandths of the largest value of a float layer."""
    import torch
    from torch import fx

    place = {tap.step: k for k, tap in enumerate(watched)}
    errors: list[Array] = [np.zeros(0)] * len(watched)

    class Forced(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            own = super().run_node(n)
            k = place.get(n.name)
            if k is None or (value := given[k]) is None:
                return own
            tap = watched[k]
            if tap.scale is None:
                errors[k] = np.abs(own.numpy() - value) / max(float(own.abs().max()), 1e-30) * 1000
                return torch.from_numpy(value)
            steps = np.rint(value / tap.scale) + tap.zero_point
            errors[k] = np.abs(own.numpy().astype(np.float64) - steps)
            limits = torch.iinfo(own.dtype)
            return torch.from_numpy(steps).clamp(limits.min, limits.max).to(own.dtype)

    with torch.no_grad():
        Forced(module).run(*inputs)
    return errors
