"""A graph with its outputs left in float is the same one without the last rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeds.eager import answers
from edgeds.quantize.parameters import output_scales
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples
from tests.bench.quantization_floats import unrounded
from tests.quantize.techniques import SHAPE, Inverted, inputs, seeded


def test_only_the_outputs_are_no_longer_rounded(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(24))
    graph, _, _ = quantize_program(captured(seeded(Inverted), SHAPE), samples, Recipe("w8c-a8t-minmax+headroom"))
    (step,) = output_scales(graph)
    free = unrounded(graph)
    assert output_scales(free) == (0.0,)
    (rounded,), (exact,) = (answers(program, samples) for program in (graph, free))
    assert 0 < np.abs(rounded - exact).max() <= step / 2 * 1.001
    assert len(free.nodes) == len(graph.nodes) - 2
