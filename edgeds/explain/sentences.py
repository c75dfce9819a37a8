"""A report's last sentence, for a person: what is wrong, or what dominates and what helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeds.recipe import Recipe

if TYPE_CHECKING:
    from edgeds.explain import LayerReport

# From here on a cause is worth naming: a hundredth of all elements lost, a quarter of the steps left to the median channel.
SATURATED, SPREAD = 0.01, 4.0


def sentence(layers: Sequence[LayerReport], identical: float, recipe: Recipe | None = None) -> str:
    """For a person: what is wrong, or what dominates the error and what helps beside the `recipe`."""
    if identical < 1:
        place = next((f", first at {_named(layer)}" for layer in layers if layer.runtime_error), "")
        return (
            f"{100 * (1 - identical):.2g} % of the runtime's output elements are not what its arithmetic gives{place}: "
            "this runtime, on this machine, has a fault of its own, or an operator that edgeds models wrongly; please report it"
        )
    if wrong := wrongs(layers):
        return f"{wrong[0]}; export the model again, and report it if that does not help"
    if not layers:
        return "no quantized layer can be seen"
    known = [layer for layer in layers if not math.isnan(layer.error_share)]
    if 2 * len(known) < len(layers):
        return (
            f"where the error comes from is not known: {len(layers) - len(known)} of {len(layers)} layers have no counterpart in the "
            "float model, which computes them in another form; `edgeds sensitivity` ranks them"
        )
    worst = max(known, key=lambda layer: layer.error_share)
    reason = _reason(worst, recipe or Recipe("fast"))  # all that a recipe could do is advised where it is not known
    return f"{100 * worst.error_share:.0f} % of the final error comes from {_named(worst)}: {reason}"


def wrongs(layers: Sequence[LayerReport]) -> list[str]:
    """A sentence for each layer that is wrong."""
    return [f"{_named(layer)} is wrong: {layer.wrong}" for layer in layers if layer.wrong]


def _named(layer: LayerReport) -> str:
    place = layer.module or layer.source
    return f"{place} ({layer.operator})" if place else layer.operator


def _reason(layer: LayerReport, recipe: Recipe) -> str:
    if layer.ranges.saturated > SATURATED:
        cut = f"{100 * layer.ranges.saturated:.1f} % of its values saturate"
        if "steps" in recipe.techniques:
            return f"{cut}, which its learned range takes for less harm than coarser steps; calibrate on data like what it answers to"
        other = ", or with --recipe w8c-a8t-minmax" if recipe.observer == "histogram" else ""
        return f"{cut}; calibrate on data like what it answers to{other}"
    if layer.ranges.spread > SPREAD:
        wide = f"its range is {layer.ranges.spread:.0f} times that of its median channel, which keeps few of 256 steps"
        if "equalize" in recipe.techniques:
            return f"{wide}, and equalization could not even it out; train with less weight in the outliers"
        return (
            f"{wide}; --recipe best equalizes channels, where that is not enough train with less weight in the outliers"
        )
    return "8 bits round it as finely as they can; only this layer in float, or training with quantization, would gain"
