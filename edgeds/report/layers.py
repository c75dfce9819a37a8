"""`edgeds validate --layers`: the layers of each artifact on the terminal, those that matter first, and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown

if TYPE_CHECKING:
    from edgeds.explain import Explanation, LayerReport

# Of a report on the terminal; JSON has them all.
MOST_ROWS = 10
HEADINGS = (
    ("error\n%", "right"),
    ("layer", "left"),
    ("operator", "left"),
    ("vs float\ndB", "right"),
    ("vs pt2e\ndB", "right"),
    ("own\nsteps", "right"),
    ("run-\ntime", "right"),
    ("range /\nmedian", "right"),
    ("satu-\nrated %", "right"),
    ("dead\nchannels", "right"),
)


def layer_tables(explanations: Sequence[Explanation]) -> list[RenderableType]:
    """A table and a sentence for each artifact in each runtime; a wrong layer stands in it always."""
    return [_explained(explanation) for explanation in explanations]


def layers_json(explanations: Sequence[Explanation]) -> list[dict[str, Any]]:
    """Every layer with all fields; null where a number is not finite."""
    return [_finite(dataclasses.asdict(explanation)) for explanation in explanations]


def _explained(found: Explanation) -> RenderableType:
    shown_first = sorted(found.layers, key=lambda layer: (not layer.wrong, -_known(layer.error_share)))
    wrong = sum(bool(layer.wrong) for layer in found.layers)
    listed = shown_first[: max(MOST_ROWS, wrong)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for name, side in HEADINGS:
        table.add_column(name, justify="right" if side == "right" else "left")
    for layer in listed:
        table.add_row(*_cells(layer), style="red" if layer.wrong else "")
    count = f"{len(listed)} of {len(found.layers)} layers, on {found.n_inputs} inputs"
    same = f"{100 * found.identical:.6g} % of output bits as predicted"
    heading = Text.assemble((found.subject, "bold"), f" · {count} · {same}")
    return Group(
        heading, table, Text(shown(found.sentence), style="red" if wrong or found.identical < 1 else ""), Text()
    )


def _cells(layer: LayerReport) -> tuple[Text, ...]:
    ranges = layer.ranges
    cells = (
        _number(100 * layer.error_share),
        shown(layer.module or layer.source or "–"),
        layer.operator,
        _number(layer.float_db),
        _number(layer.pt2e_db),
        f"{layer.own_error:.0f}",
        "–" if layer.runtime_error is None else str(layer.runtime_error),
        _number(ranges.spread),
        f"{100 * ranges.saturated:.2f}",
        f"{ranges.dead} of {ranges.channels}",
    )
    return tuple(map(Text, cells))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else "inf" if math.isinf(value) else f"{value:.1f}"


def _known(share: float) -> float:
    return -1.0 if math.isnan(share) else share


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
