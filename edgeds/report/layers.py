"""`edgeds validate --layers`: the layers of each artifact on the terminal, those that matter first, and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown
from edgeds.report.rows import NONE

if TYPE_CHECKING:
    from edgeds.explain import Explanation, LayerReport

# Of a report on the terminal; JSON has them all.
MOST_ROWS = 10
# Columns of a layer's name at least, where it is as long: the other columns give way to it.
LEAST_NAME = 36


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
    count = f"{len(listed)} of {len(found.layers)} layers, on {found.n_inputs} inputs"
    same = f"{100 * found.identical:.6g} % of output bits as predicted"
    heading = Text.assemble((found.subject, "bold"), f" · {count} · {same}")
    return Group(
        heading,
        _LayerTable(listed),
        Text(shown(found.sentence), style="red" if wrong or found.identical < 1 else ""),
        Text(),
    )


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table. The one with the lowest `rank` is the first to be left out of a narrow terminal, 9 never is."""

    heading: str
    cell: Callable[[LayerReport], str]
    rank: int = 9

    def width(self, layers: Sequence[LayerReport]) -> int:
        """With the two spaces behind it."""
        return 2 + max(map(len, (*self.heading.split("\n"), *(self.cell(layer) for layer in layers))))


_NAME = _Column("layer", lambda layer: shown(layer.module or layer.source or "–"))
_COLUMNS = (
    _Column("error\n%", lambda layer: _number(100 * layer.error_share)),
    _NAME,
    _Column("operator", lambda layer: layer.operator),
    _Column("vs float\ndB", lambda layer: _number(layer.float_db)),
    _Column("vs pt2e\ndB", lambda layer: _number(layer.pt2e_db), rank=2),
    _Column("own\nsteps", lambda layer: f"{layer.own_error:.0f}", rank=5),
    _Column("run-\ntime", lambda layer: NONE if layer.runtime_error is None else str(layer.runtime_error), rank=3),
    _Column("range /\nmedian", lambda layer: _number(layer.ranges.spread), rank=4),
    _Column("satu-\nrated %", lambda layer: f"{100 * layer.ranges.saturated:.2f}", rank=1),
    _Column("dead\nchannels", lambda layer: f"{layer.ranges.dead} of {layer.ranges.channels}", rank=0),
)


@dataclass(frozen=True, slots=True)
class _LayerTable:
    """Layers by their names, with as many columns as fit beside these."""

    layers: Sequence[LayerReport]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, left_out = list(_COLUMNS), []
        name = min(_NAME.width(self.layers), LEAST_NAME)
        while name + self._others(columns) > options.max_width and (first := min(columns, key=_rank)).rank < 9:
            columns.remove(first)
            left_out.append(first)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
        for column in columns:
            is_text = column.heading in ("layer", "operator")
            table.add_column(
                column.heading, justify="left" if is_text else "right", overflow="fold", no_wrap=column is not _NAME
            )
        for layer in self.layers:
            table.add_row(*(Text(column.cell(layer)) for column in columns), style="red" if layer.wrong else "")
        yield table
        if left_out:
            yield Text(f"{len(left_out)} more columns in a wider terminal, all in --json", style="dim")

    def _others(self, columns: Sequence[_Column]) -> int:
        return sum(column.width(self.layers) for column in columns if column is not _NAME)


def _rank(column: _Column) -> int:
    return column.rank


def _number(value: float) -> str:
    return NONE if math.isnan(value) else "inf" if math.isinf(value) else f"{value:.1f}"


def _known(share: float) -> float:
    return -1.0 if math.isnan(share) else share


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
