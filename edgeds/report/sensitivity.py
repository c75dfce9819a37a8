"""The report of `edgeds sensitivity`: the layers that quantization costs most, and what that means in a sentence."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown
from edgeds.report.rows import NONE, decibels, percent
from edgeds.results import LayerCost, Sensitivity

SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first
MOST_LAYERS = 20
WORST = 3
WHAT_IT_IS = (
    "dB: SQNR against the float model, of int8 simulated in PyTorch on these samples. An export measures its files in their "
    "runtimes on all validation samples; and learned ranges, rounding and corrected biases of --recipe best are left out here."
)


def sensitivity_report(model_name: str, found: Sensitivity) -> list[RenderableType]:
    """What to print, from top to bottom."""
    n = found.n_samples
    head = Text.assemble(
        (shown(model_name), "bold"), f" · {len(found.layers)} layers, each alone in int8, on {n} samples"
    )
    said = Text(WHAT_IT_IS, style="dim")
    return [head, Text(), _table(found.layers[:MOST_LAYERS]), said, Text(), *(Text(line) for line in verdict(found))]


def sensitivity_json(model_name: str, found: Sensitivity) -> dict[str, Any]:
    """The same as JSON values, with every layer; infinity is the text "Infinity"."""
    layers = [{key: _finite(value) for key, value in asdict(layer).items()} for layer in found.layers]
    head = {"schema_version": SCHEMA_VERSION, "model": model_name, "n_samples": found.n_samples}
    return {**head, "whole_db": _finite(found.whole_db), "layers": layers}


def verdict(found: Sensitivity) -> list[str]:
    """What all of it costs, who has most of it, and what is not shown."""
    worst = found.layers[:WORST]
    whole = (
        "as the float model answers"
        if found.whole_db == math.inf
        else f"SQNR {found.whole_db:.1f} dB against the float model"
    )
    lines = [f"All layers in int8: {whole}."]
    if worst and math.isfinite(worst[0].sqnr_db):
        names = ", ".join(shown(layer.name) for layer in worst)
        lines.append(f"{percent(sum(layer.share for layer in worst))} % of the noise is of {names}.")
    if rest := found.layers[MOST_LAYERS:]:
        share = percent(sum(layer.share for layer in rest))
        lines.append(f"{len(rest)} more layers have {share} % of the noise together; --json lists them.")
    return lines


def _table(layers: tuple[LayerCost, ...]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("\nlayer", overflow="fold")
    table.add_column("\noperator", no_wrap=True)
    for heading in ("alone\ndB", "weights\ndB", "activa-\ntions dB", "of all\nnoise %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        cells = [_or_none(value) for value in (layer.sqnr_db, layer.weights_db, layer.activations_db)]
        table.add_row(*(Text(shown(cell)) for cell in (layer.name, layer.operator, *cells, percent(layer.share))))
    return table


def _or_none(value_db: float | None) -> str:
    return NONE if value_db is None else decibels(value_db)


def _finite(value: Any) -> Any:
    return "Infinity" if value == math.inf else value
