"""What a model will leave in float, transposed or slow in each format, said in seconds: quantized on noise, and nothing is exported."""

from __future__ import annotations

from collections.abc import Sequence

from edgeds.errors import DataError
from edgeds.export.leftovers import leftovers
from edgeds.leftover import Forecast
from edgeds.quiet import quiet_imports
from edgeds.recipe import Recipe
from edgeds.spec import Format, Model

SEED = 0
RECIPE = Recipe("w8c-a8t-minmax")  # the quickest


def forecast(model: Model, formats: Sequence[Format] = tuple(Format)) -> tuple[tuple[Forecast, ...], tuple[str, ...]]:
    """A forecast for each format, and warnings. Which operators are quantized does not depend on the data, so noise will do.

    Raises ModelError as capture does.
    """
    import numpy as np

    from edgeds.data.samples import make_samples
    from edgeds.models.capture import capture
    from edgeds.models.reparameterize import reparameterize

    with quiet_imports():
        from edgeds.quantize.pt2e import quantize_program

    model, notes = reparameterize(model)
    program = capture(model)
    rng = np.random.default_rng(SEED)
    noise = [rng.normal(size=shape).astype(np.float32) for shape in model.input_shapes]
    names = [f"noise#{k}" for k in range(program.batch)]
    try:
        graph, _, warnings = quantize_program(program, make_samples(noise, names, names, "noise"), RECIPE)
    except DataError:  # an embedding takes no noise; capture has run the model on zeros
        zeros = [np.zeros_like(array) for array in noise]
        graph, _, warnings = quantize_program(program, make_samples(zeros, names, names, "zeros"), RECIPE)
    return tuple(Forecast(format, leftovers(graph, format)) for format in formats), (*notes, *warnings)
