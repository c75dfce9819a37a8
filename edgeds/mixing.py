"""Mixed precision: a model is quantized but for some layers, which stay in float in every format; and what that gains is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeds import quantizing, sensing
from edgeds.cache import Cache
from edgeds.data.samples import evenly_spaced, take
from edgeds.drift.metrics import sqnr_db
from edgeds.eager import answers
from edgeds.errors import InputError
from edgeds.progress import Progress
from edgeds.recipe import Recipe
from edgeds.results import Sensitivity
from edgeds.spec import FloatModel, Program, QuantizedModel, Samples

MOST_NAMED = 4


def quantize(
    source: FloatModel,
    calibrate: Samples,
    recipe: Recipe,
    keep_float: int | Sequence[str],
    store: Cache | None,
    progress: Progress,
) -> QuantizedModel:
    """Quantizes all layers but those of `keep_float`: their names, or how many of the most costly (see `worst`). Those of the recipe stay in float too.

    Raises InputError, with near matches, for a name that is no layer's.
    """
    integers = Recipe(recipe.integers)
    names = _names(source, calibrate, integers, keep_float, store, progress)
    chosen = integers.keeping_float([*recipe.kept_float, *names])
    made = quantizing.quantize(source, calibrate, chosen, store, progress)
    if not chosen.kept_float:
        return made
    whole = quantizing.quantize(source, calibrate, integers, store, progress)
    said = _gain(source, made, whole)
    progress.warn(said)
    return replace(made, source=replace(made.source, warnings=(*made.source.warnings, said)))


def worst(found: Sensitivity, count: int) -> tuple[str, ...]:
    """The names of what stays in float for the `count` most costly layers to cost less.

    Where a layer's value costs more than its weights, the layers that read it are among them: only those that compute in float take a
    float, for all others it would be rounded as before.
    """
    kept: set[str] = set()
    for layer in found.layers[:count]:
        if layer.operator != "input":
            kept.add(layer.name)
        weights, values = layer.weights_db, layer.activations_db
        if weights is None or (values is not None and values < weights):
            kept.update(layer.readers)
    return tuple(sorted(kept))


def _names(
    source: FloatModel,
    calibrate: Samples,
    recipe: Recipe,
    keep_float: int | Sequence[str],
    store: Cache | None,
    progress: Progress,
) -> Sequence[str]:
    if isinstance(keep_float, str):
        return (keep_float,)
    if not isinstance(keep_float, int):
        return keep_float
    if keep_float < 0:
        raise InputError(f"cannot keep {keep_float} layers in float; give 0 or more, or names of layers")
    if not keep_float:
        return ()
    found = sensing.measured(source, calibrate, recipe, store, progress)
    count = sum(layer.operator != "input" for layer in found.layers)
    if keep_float > count:
        raise InputError(
            f"cannot keep {keep_float} layers in float: the model has {count}; give fewer, or --precision fp32 for a float model"
        )
    return worst(found, keep_float)


def _gain(source: FloatModel, made: QuantizedModel, whole: QuantizedModel) -> str:
    """What the float layers are good for: the PT2E graph with and without them, on as many samples as sensitivity is measured on."""
    samples = take(source.validation, evenly_spaced(len(source.validation), sensing.SAMPLES))
    exact = answers(source.program, samples)

    def decibels(graph: Program) -> float:
        return min(sqnr_db(a, b) for a, b in zip(exact, answers(graph, samples), strict=True))

    names = made.recipe.kept_float
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"in float: {', '.join(names[:MOST_NAMED])}{more}: {decibels(made.graph):.1f} dB against the float model, "
        f"{decibels(whole.graph):.1f} dB with all layers in int8 (PT2E graph, {len(samples)} samples)"
    )
