"""How a command ends: its result alone on stdout, an error in one line on stderr, and the exit code."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from edgeds.errors import EdgedsError, ToolError
from edgeds.folders import from_the_system, why

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeds.progress import Progress

INTERRUPTED = 130  # what a shell reports for Ctrl-C
BUG = 70  # EX_SOFTWARE of sysexits.h
# What a full or unwritable disk answers. A bundle's own folder and the cache have errors of their own before it comes here.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
# The base of the errors in how options are written. Typer has it, but in no version under a public name.
_PARSE_ERROR: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code. An error that edgeds raises on purpose is one line on stderr."""
    try:
        # not standalone: it would draw a box around a mistyped option, and say nothing on Ctrl-C
        code = app(list(arguments), prog_name="edgeds", standalone_mode=False)
    except EdgedsError as error:
        return _fail(str(error), error.exit_code)
    except _PARSE_ERROR as error:
        return _fail(_in_our_words(error), EdgedsError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  # whatever it is, the exit code must not say that a limit was exceeded
        if isinstance(error, OSError) and (known := from_the_system(error)).errno in DISK:
            text = f"{why(known)}; free some space, or set TMPDIR to a folder that can be written"
            return _fail(text, ToolError.exit_code)
        traceback.print_exc()
        return _fail(f"this is a bug in edgeds ({type(error).__name__}); report it with the lines above", BUG)
    if code == INTERRUPTED:
        print("edgeds: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the program like Ctrl-C: it cleans up, and exits with what a shell reports for them."""

    def end(number: int, frame: object) -> NoReturn:
        print(f"edgeds: ended by {signal.Signals(number).name}", file=sys.stderr)
        raise SystemExit(128 + number)

    # nohup ignores SIGHUP, and so shall we
    wanted = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """The progress display on stderr. What a user's model or a library prints meanwhile goes there too."""
    from edgeds.report.progress import shown

    with _stdout_to_stderr(), shown(sys.stderr, quiet) as display:
        yield display


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Python's stdout, and the file that native code and child processes know as theirs."""
    try:
        sys.stdout.flush()
        stdout = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # closed
        stdout = None
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if stdout is not None:
            os.dup2(stdout, 1)
            os.close(stdout)


def print_result(*renderables: RenderableType) -> None:
    """Prints a report to stdout."""
    from rich.console import Console

    with _written():
        console = Console()
        # in one piece: Rich itself would exit with 1, "a limit was exceeded", where the reader of a pipe has left
        with console.capture() as captured:
            for renderable in renderables:
                console.print(renderable)
        print(captured.get(), end="")


def print_json(value: Any) -> None:
    """Prints JSON to stdout."""
    with _written():
        print(json.dumps(value, indent=2, allow_nan=False))


@contextmanager
def _written() -> Iterator[None]:
    """What the block prints has left stdout's buffer at its end."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has left, like `| head`; the exit code still tells the result
        _drop_stdout()
    except OSError as error:
        _drop_stdout()
        raise ToolError(f"cannot write the result to stdout: {why(error)}; send it elsewhere") from error


def _drop_stdout() -> None:
    """What is still in its buffer must not fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    print(f"edgeds: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _in_our_words(error: Any) -> str:
    """What is wrong with how a command was written, as our own errors say it."""
    text = error.format_message().strip().rstrip(".")
    command = error.ctx.command_path if error.ctx else "edgeds"
    if text.startswith("No such command"):
        commands = getattr(error.ctx.command, "commands", ())
        text = f"{text.replace('. Did', '; did')} choose from {', '.join(commands)}".replace("' choose", "'; choose")
    return f"{text[:1].lower()}{text[1:]}; see `{command} --help`"
