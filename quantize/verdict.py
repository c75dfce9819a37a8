"""Whether a change to the float network pays once it is quantized: both are, plainly, and judged on samples that no range was taken from.

What first-order noise promises (edgeds.quantize.equalize) a network may not keep: where its channels reach further on other samples, say.
"""

from __future__ import annotations

import copy

from torch import fx
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgeds.data.samples import evenly_spaced, take
from edgeds.eager import run_batch
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.spec import Recipe, Samples

USED = 24  # samples at most: more cost seconds and change few verdicts
JUDGES = 3  # one in so many of them judges, ranges are taken from the others


def is_better(changed: fx.GraphModule, module: fx.GraphModule, samples: Samples, size: int, recipe: Recipe) -> bool:
    """Whether `changed`, quantized, is nearer to the float outputs than `module` is; both take `size` samples at once."""
    rows = evenly_spaced(len(samples), USED)
    judges = rows[::JUDGES]
    seen = take(samples, [row for row in rows if row not in judges] or judges)
    return _noise(changed, seen, take(samples, judges), size, recipe) < _noise(
        module, seen, take(samples, judges), size, recipe
    )


def _noise(module: fx.GraphModule, seen: Samples, judges: Samples, size: int, recipe: Recipe) -> float:
    """The noise-to-signal ratio of the quantized module's outputs, summed up; ranges are those of `seen`."""
    prepared = prepare_pt2e(copy.deepcopy(module), SeparableConvQuantizer(recipe))
    for first in range(0, len(seen), size):
        run_batch(prepared, seen, first, size)
    quantized = convert_pt2e(prepared)
    total = 0.0
    for first in range(0, len(judges), size):
        exact, found = (run_batch(graph, judges, first, size) for graph in (module, quantized))
        pairs = [(x, y) for x, y in zip(exact, found, strict=True) if x.is_floating_point()]
        total += sum(float((x - y).square().sum() / x.square().sum().clamp_min(1e-12)) for x, y in pairs)
    return total
