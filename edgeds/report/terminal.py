"""The report on the terminal: what stands at the end of `edgeds export` and `edgeds validate`. Nothing is printed here.

Colour only repeats what the words say, so that a pipe loses nothing. Names and warnings are data: never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown
from edgeds.report import rows
from edgeds.report.rows import Pair, Row
from edgeds.spec import Bundle, DriftLimits, DriftReport, Manifest

# Below this many columns the versions are left out of the table, below ROOMY columns stand closer together.
WIDE, ROOMY = 100, 122


def bundle_report(bundle: Bundle) -> list[RenderableType]:
    """What to print of a bundle, from top to bottom; `judgement` comes after it.

    Good from 80 columns on: each renderable fits itself to the console that it is printed to.
    """
    manifest = bundle.manifest
    parts: list[RenderableType] = [_header(manifest)]
    if found := rows.drift_rows(manifest):
        parts.append(_DriftTable(found))
    if pairs := rows.pair_rows(manifest):
        parts.append(_pair_table(pairs))
    if said := [*_warnings(manifest), *_notes(manifest)]:
        parts.append(Group(*said))
    return [_Paragraph(part) for part in (*parts, _files(bundle))]


def judgement(violations: tuple[str, ...], limits: DriftLimits, drift: Sequence[DriftReport]) -> RenderableType:
    """Each violation on a line of its own, in red; without any, the limits that held, as far as they judged something in `drift`."""
    if violations:
        return _Paragraph(Group(*(_marked("limit exceeded:", v, "bold red", "red") for v in violations)), after=0)
    texts = rows.limit_texts(limits, drift)
    if not texts:
        return Text("no limit applies: nothing was judged", style="yellow")
    return _Paragraph(_marked("all limits held:", ", ".join(texts), "bold green", "green"), after=0)


@dataclass(frozen=True, slots=True)
class _Paragraph:
    """Something without the spaces that rich fills each line with, and `after` empty lines behind it."""

    content: RenderableType
    after: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.content, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            yield from line[:-1]
            yield from (Segment(s.text.rstrip(), s.style) for s in line[-1:])
            yield Segment.line()
        yield from [Segment.line()] * self.after


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the drift table: its heading, the field of Row that it shows, and which words are red."""

    heading: str
    field: str
    right: bool = True


_NARROW = (
    _Column("\nformat", "format", right=False),
    _Column("\ntype", "precision", right=False),
    _Column("size\nMB", "size"),
    _Column("\nruntime", "runtime", right=False),
    _Column("dele-\ngates", "delegates"),
    _Column("out-\nside", "outside"),
    _Column("float\nops", "float_operators"),
    _Column("SQNR dB\nvs float", "sqnr_float"),
    _Column("vs\npt2e", "sqnr_pt2e"),
    _Column("top-1\n%", "top1"),
    _Column("max\nLSB", "max_lsb"),
)
_VERSION = _Column("\nversion", "version", right=False)


@dataclass(frozen=True, slots=True)
class _DriftTable:
    """Each artifact in each runtime, with as many columns as fit."""

    rows: tuple[Row, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide, roomy = options.max_width >= WIDE, options.max_width >= ROOMY
        columns = (*_NARROW[:4], _VERSION, *_NARROW[4:]) if wide else _NARROW
        table = _table(1 if roomy else 0)
        for column in columns:
            table.add_column(
                column.heading, justify="right" if column.right else "left", no_wrap=column.field != "runtime"
            )
        for row, following in zip(self.rows, (*self.rows[1:], None), strict=True):
            ends = following is not None and row.precision != following.precision
            style = "dim" if row.is_reference else ""
            table.add_row(*(_cell(row, c.field, roomy) for c in columns), end_section=ends, style=style)
        yield table


def _pair_table(pairs: tuple[Pair, ...]) -> RenderableType:
    table = _table(1)
    table.title = "runtimes against each other"
    table.add_column("\npair", no_wrap=True)
    for heading in ("identical\n%", "within\n1 LSB %", "max\nLSB", "SQNR\ndB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs:
        names = f"{_one_line(pair.subject)} {rows.NONE} {_one_line(pair.reference)}"
        table.add_row(*map(Text, (names, pair.identical, pair.within_one, pair.max_lsb, pair.sqnr)))
    return table


def _table(padding: int) -> Table:
    """Columns stand `padding` + 1 apart: the box has a space between them."""
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, padding, 0, 0),
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )


def _cell(row: Row, field: str, roomy: bool) -> Text:
    text: str = getattr(row, field)
    if field == "delegates" and not roomy:
        text = text.split()[0]  # the heading says of what
    left_over = field in ("outside", "float_operators") and text not in ("0", rows.NONE)
    return Text(text, style="yellow" if left_over or text == rows.NOT_RUN else "")


def _header(manifest: Manifest) -> RenderableType:
    model, calibration = manifest.model, manifest.calibration
    name = Text.assemble(
        (_one_line(model.name), "bold"),
        f" · {model.parameters:,} parameters · input {rows.shapes(model.input_shapes)}",
    )
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("weights", Text(_one_line(model.weights)))
    facts.add_row("recipe", Text(_one_line(manifest.recipe or "none: not quantized")))
    if calibration:
        facts.add_row("calibration", Text(_one_line(rows.data(calibration))))
    if manifest.drift:
        facts.add_row("validation", Text(_one_line(rows.data(manifest.validation))))
    return Group(name, facts)


def _warnings(manifest: Manifest) -> Iterator[RenderableType]:
    for warning in dict.fromkeys(manifest.warnings):
        yield _marked("warning:", warning, "bold yellow")


def _notes(manifest: Manifest) -> Iterator[RenderableType]:
    for name, note in rows.notes(manifest):
        yield _marked("note:", f"{name}: {note}", "bold cyan")


def _files(bundle: Bundle) -> RenderableType:
    files = sorted(bundle.manifest.files.items())
    total = sum(digest.size_bytes for _, digest in files)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, digest in files:
        table.add_row(rows.size(digest.size_bytes), Text(shown(name)))
    heading = Text.assemble("bundle ", (shown(bundle.path), "bold"))
    if not files:
        return heading
    heading.append(f" · {len(files)} {'file' if len(files) == 1 else 'files'}, {rows.size(total)}")
    return Group(heading, Padding(table, (0, 0, 0, 2)))


def _marked(mark: str, text: str, mark_style: str, style: str = "") -> RenderableType:
    """A sentence behind its mark, wrapped beside it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=mark_style), Text(_one_line(text), style=style))
    return grid


def _one_line(text: str) -> str:
    """Text of a manifest as one line without control characters, which could drive the terminal."""
    return shown(" ".join(text.split()))
