"""Progress for people: bars with elapsed time on a terminal, plain lines in a pipe. Both write to stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from edgeds.progress import Progress, Silent


@contextmanager
def shown(stream: IO[str], quiet: bool = False) -> Iterator[Progress]:
    """The progress display that fits `stream`, for as long as the block lasts."""
    if quiet:
        yield Silent()
    elif stream.isatty():
        console = Console(file=stream)
        with Bars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Count(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        ) as bars:
            yield _OnTerminal(bars)
    else:
        yield _InPipe(stream)


class _Count(MofNCompleteColumn):
    """`12/48`; nothing where there is nothing to count."""

    def render(self, task: Task) -> Text:
        """The column's text."""
        return super().render(task) if task.total is not None and task.total > 1 else Text()


class _OnTerminal:
    """A bar a step; a warning is printed above the bars."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def start(self, step: str, total: int = 0) -> None:
        """Adds the step's bar; one of unknown length moves until it ends."""
        self._tasks[step] = self._bars.add_task(step, total=total or None, note="")

    def update(self, step: str, done: int) -> None:
        """Moves the bar."""
        self._bars.update(self._tasks[step], completed=done)

    def finish(self, step: str, note: str = "") -> None:
        """Fills the bar and stops its clock."""
        task = self._tasks[step]
        total = self._bars.tasks[task].total or 1
        self._bars.update(task, total=total, completed=total, note=note)

    def warn(self, text: str) -> None:
        """Prints the warning above the bars."""
        self._bars.console.print(Text.assemble(("warning:", "yellow"), " ", text))


class _InPipe:
    """A line when a step begins and one when it ends, with its seconds."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._started: dict[str, float] = {}

    def start(self, step: str, total: int = 0) -> None:
        """Says that the step begins."""
        self._started[step] = time.monotonic()
        self._line(f"{step} ...")

    def update(self, step: str, done: int) -> None:
        """Says nothing: a pipe wants few lines."""

    def finish(self, step: str, note: str = "") -> None:
        """Says how long the step took."""
        seconds = time.monotonic() - self._started.pop(step)
        self._line(f"{step}: done in {seconds:.1f} s" + (f" ({note})" if note else ""))

    def warn(self, text: str) -> None:
        """Prints the warning."""
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
