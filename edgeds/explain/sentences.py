"""A report's last sentence, for a person: what is wrong, or what dominates and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeds.explain import LayerReport

# From here on a cause is worth naming: a hundredth of all elements lost, a quarter of the steps left to the median channel.
SATURATED, SPREAD = 0.01, 4.0


def sentence(layers: Sequence[LayerReport], identical: float) -> str:
    """For a person: what is wrong, or what dominates the error and what helps."""
    if identical < 1:
        place = next((f", first at {_named(layer)}" for layer in layers if layer.runtime_error), "")
        return (
            f"{100 * (1 - identical):.2g} % of the runtime's output elements are not what its arithmetic gives{place}: "
            "this runtime, on this machine, has a fault of its own, or an operator that edgeds models wrongly; please report it"
        )
    if wrong := [layer for layer in layers if layer.wrong]:
        first = wrong[0]
        return f"{_named(first)} is wrong: {first.wrong}; export the model again, and report it if that does not help"
    if not layers:
        return "no quantized layer can be seen"
    worst = max(layers, key=lambda layer: layer.error_share)
    return f"{100 * worst.error_share:.0f} % of the final error comes from {_named(worst)}: {_reason(worst)}"


def _named(layer: LayerReport) -> str:
    place = layer.module or layer.source
    return f"{place} ({layer.operator})" if place else layer.operator


def _reason(layer: LayerReport) -> str:
    if layer.ranges.saturated > SATURATED:
        return (
            f"{100 * layer.ranges.saturated:.1f} % of its values saturate; calibrate on data like what it answers to, "
            "or with --recipe w8c-a8t-minmax"
        )
    if layer.ranges.spread > SPREAD:
        return (
            f"its range is {layer.ranges.spread:.0f} times that of its median channel, which keeps few of 256 steps; "
            "--recipe best equalizes channels, where that is not enough train with less weight in the outliers"
        )
    return "8 bits round it as finely as they can; only this layer in float, or training with quantization, would gain"
