from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgeds.progress import Progress, Silent, step
from edgeds.report.progress import shown


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Terminal, Progress]]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with shown(stream) as progress:
        yield stream, progress


def screen(stream: io.StringIO) -> list[str]:
    """The lines as they stand at the end: without colours, and without what was drawn over."""
    lines, row = [""], 0
    for token in re.findall(r"\n|\r|\x1b\[[?0-9;]*[A-Za-z]|[^\n\r\x1b]+", stream.getvalue()):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[1A":
            row -= 1
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] not in "\r\x1b":
            lines[row] += token
    return [line.rstrip() for line in lines if line.strip()]


def test_a_pipe_gets_a_line_when_a_step_begins_and_one_with_its_seconds_when_it_ends() -> None:
    stream = io.StringIO()
    with shown(stream) as progress:
        progress.start("quantize", 48)
        progress.update("quantize", 12)
        progress.warn("[bold]careful[/]")
        progress.finish("quantize", "from the cache")
        with step(progress, "validate"):
            pass
    lines = re.sub(r"\d+\.\d s", "N s", stream.getvalue()).splitlines()
    begun = ["quantize ...", "warning: [bold]careful[/]", "quantize: done in N s (from the cache)"]
    assert lines == [*begun, "validate ...", "validate: done in N s"]


def test_steps_in_a_pipe_may_overlap() -> None:
    stream = io.StringIO()
    with shown(stream) as progress:
        for name in ("a", "b"):
            progress.start(name)
        for name in ("b", "a"):
            progress.finish(name)
    assert [line.split()[0].rstrip(":") for line in stream.getvalue().splitlines()] == ["a", "b", "b", "a"]


def test_a_terminal_gets_a_bar_a_step_with_name_elapsed_time_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_terminal(monkeypatch) as (stream, progress):
        progress.start("quantize", 48)
        progress.update("quantize", 12)
        progress.start("lower to onnx int8")
        progress.finish("lower to onnx int8", "from the cache")
        progress.update("quantize", 48)
        progress.finish("quantize")
    lines = screen(stream)
    assert [re.sub(r"━+", "━", line) for line in lines] == [
        "✓ quantize           ━ 48/48 0:00:00",
        "✓ lower to onnx int8 ━       0:00:00 from the cache",
    ]
    assert max(map(len, lines)) <= 80


def test_a_count_is_shown_only_where_there_is_something_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_terminal(monkeypatch) as (stream, progress):
        progress.start("capture the model")
        progress.finish("capture the model")
        progress.start("validate", 0)
        progress.finish("validate")
    assert not any("/" in line for line in screen(stream))


def test_a_warning_on_a_terminal_stays_above_the_bars_and_is_never_read_as_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with on_terminal(monkeypatch) as (stream, progress):
        progress.start("quantize", 2)
        progress.warn("the folder [red] holds 3 samples; " + "give more " * 8)
        progress.finish("quantize")
    lines = screen(stream)
    assert lines[0].startswith("warning: the folder [red] holds 3 samples; give more")
    assert lines[1].startswith(("give", "more"))
    assert lines[-1].startswith("✓ quantize") and "2/2" in lines[-1]
    assert max(map(len, lines)) <= 80


def test_an_unfinished_step_has_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        on_terminal(monkeypatch) as (stream, progress),
        pytest.raises(ValueError, match="broken"),
        step(progress, "capture the model"),
    ):
        raise ValueError("broken")
    assert "✓" not in screen(stream)[-1] and "capture the model" in screen(stream)[-1]


def test_quiet_writes_nothing_even_on_a_terminal() -> None:
    stream = Terminal()
    with shown(stream, quiet=True) as progress:
        assert isinstance(progress, Silent)
        progress.start("quantize", 3)
        progress.update("quantize", 1)
        progress.warn("careful")
        progress.finish("quantize")
    assert stream.getvalue() == ""
