from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import pytest

from edgeds.errors import ToolError
from edgeds.process import last_line, run_process


def test_a_program_gets_stdin_and_added_variables_and_returns_both_streams() -> None:
    code = "import os, sys; print(sys.stdin.read() + os.environ['EXTRA']); print('aside', file=sys.stderr); sys.exit(4)"
    done = run_process([sys.executable, "-c", code], "given ", {"EXTRA": "added"})
    assert (done.returncode, done.stdout, done.stderr) == (4, "given added\n", "aside\n")


def test_a_failure_says_what_failed_how_why_and_the_command() -> None:
    code = "import sys; sys.exit('first\\nthe reason\\n\\nFutureWarning: noise\\n')"
    error = run_process([sys.executable, "-c", code]).failure("the step")
    assert str(error).startswith("the step failed with exit code 1: the reason; the command was ")
    assert str(error).count("\n") == 0 or code in str(error)


def test_a_crash_names_its_signal() -> None:
    code = (
        "import os, signal, sys; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    error = run_process([sys.executable, "-c", code]).failure("onnx-int8@onnxruntime")
    assert str(error).startswith("onnx-int8@onnxruntime crashed with SIGSEGV: last words; the command was ")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ToolError, match="cannot start no-such-program: No such file or directory; the command was no-such"
    ):
        run_process(["no-such-program", "--version"])


def test_an_error_line_of_pip_comes_before_what_follows_it() -> None:
    assert last_line("ERROR: no wheel\nhint: look\n[notice] a new pip\n") == "ERROR: no wheel"
    assert last_line(" \n") == "it printed nothing to stderr"


def test_an_interrupt_ends_the_child_too(tmp_path: Path) -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    child = (
        "import os, pathlib, signal, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
        "os.kill(os.getppid(), signal.SIGUSR1); time.sleep(600)"
    )
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_process([sys.executable, "-c", child, str(tmp_path / "pid")])
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_cores_are_those_that_this_process_may_use() -> None:
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from edgeds import process; print(process.cores())"
    assert run_process([sys.executable, "-c", script]).stdout == "1\n"


def test_a_program_that_takes_too_long_is_ended_and_its_output_kept() -> None:
    code = "import sys, time; print('so far', file=sys.stderr, flush=True); time.sleep(60)"
    done = run_process([sys.executable, "-c", code], timeout_s=0.5)
    assert done.returncode == -signal.SIGKILL
    assert str(done.failure("the step")).startswith(
        "the step was ended after its time limit of 0.5 s: so far; give it more with --time-limit, in seconds; the command was "
    )
