"""The functions that take the time, as a table: with names of C++, which run to hundreds of characters, cut to what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown
from edgeds.report.rows import milliseconds
from edgeds.results import KernelTime

NOWHERE = "outside of libraries"
# Columns of the terminal: what both numbers take with the space behind each column, and what is left to names at least.
_NUMBERS = 8 + 9 + 4 * 2
_LEAST = 40
_CUT = "…"


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Functions with their share, milliseconds and library, as wide as the terminal is."""

    kernels: Sequence[KernelTime]
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, style="bold")
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for justify in ("right", "right", "left", "left"):
            table.add_column(justify=justify, no_wrap=True)
        room = max(options.max_width - _NUMBERS, _LEAST)
        for kernel in self.kernels:
            library = middle_cut(shown(kernel.library), room // 3)
            # the table says in which library it is
            symbol = fitted(shown(kernel.symbol.removeprefix(kernel.library)), room - room // 3)
            numbers = f"{100 * kernel.share:.1f} %", f"{milliseconds(kernel.ms)} ms"
            table.add_row(*numbers, Text(symbol or NOWHERE), Text(library, style="dim"))
        yield table


def fitted(symbol: str, width: int) -> str:
    """A function's name in at most `width` characters: without template arguments, then without types of arguments, then without its middle."""
    for brackets in ("<>", "()"):
        if len(symbol) > width:
            symbol = _emptied(symbol, *brackets)
    return middle_cut(symbol, width)


def middle_cut(text: str, width: int) -> str:
    """`text` in at most `width` characters: what tells names apart stands at both ends."""
    if len(text) <= width:
        return text
    behind = (width - 1) // 2
    return f"{text[: width - 1 - behind]}{_CUT}{text[len(text) - behind :]}"


def _emptied(symbol: str, begin: str, end: str) -> str:
    """`a<b<c>, d>(e)` → `a<…>(e)`. A name in which brackets are operators, like `operator<`, is left as it is."""
    if "operator" in symbol or symbol.count(begin) != symbol.count(end):
        return symbol
    found, depth = [], 0
    for character in symbol:
        depth -= character == end
        if depth == 0:
            found.append(f"{_CUT}{end}" if character == end else character)
        depth += character == begin
    return "".join(found)
