"""The one place that starts other programs: shows the command and its stderr when it fails, and leaves no child behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from edgeds.errors import ToolError

_PIPE = subprocess.PIPE

# What Python would read from the caller's environment into a program that has an environment of its own.
_LEAKING = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")

# Lines of stderr that never explain a failure: torchao looking for CUDA kernels, oneDNN, pip's advertisement, warnings.
_NOISE = re.compile(
    r"Failed to load .*torchao|KernelPreference|^I\d{4} |\[notice\]|Warning\b|^\s*warnings\.warn|^WARNING"
)


# Programs that run right now, in whichever thread started them.
_running: set[subprocess.Popen[str]] = set()


def end_all() -> None:
    """Ends every program that `run_process` is waiting for: Ctrl-C reaches the main thread only, not those that wait."""
    for child in tuple(_running):
        child.kill()


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    """As many threads as cores, each of which waits for a program; Ctrl-C ends those programs."""
    waiting = ThreadPoolExecutor(max_workers=cores())
    try:
        yield waiting
    except BaseException:
        waiting.shutdown(wait=False, cancel_futures=True)
        end_all()
        raise
    finally:
        waiting.shutdown()


def cores() -> int:
    """How many cores this process may use: a container or `taskset` can leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended. `returncode` is negative where a signal ended it; `over_s` is its time limit where that did."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    over_s: float | None = None

    def failure(self, what: str, reason: str = "") -> ToolError:
        """The error that says in one line what failed, how, why (`reason`, or the last telling line of stderr), and the command."""
        more = "" if self.over_s is None else "give it more with --time-limit, in seconds; "
        return ToolError(
            f"{what} {self._ending()}: {reason or last_line(self.stderr)}; {more}the command was {shlex.join(self.command)}"
        )

    def _ending(self) -> str:
        if self.over_s is not None:
            return f"was ended after its time limit of {self.over_s:g} s"
        if self.returncode >= 0:
            return f"failed with exit code {self.returncode}"
        try:
            return f"crashed with {signal.Signals(-self.returncode).name}"
        except ValueError:  # a real-time signal has no name
            return f"crashed with signal {-self.returncode}"


def last_line(text: str) -> str:
    """The last line that tells something: no blank one, no known noise; an `ERROR:` line of pip before all others."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not _NOISE.search(line)] or lines
    errors = [line for line in telling if line.startswith("ERROR:")]
    return (errors or telling or ["it printed nothing to stderr"])[-1]


def run_process(
    command: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> Finished:
    """Runs a program to its end, by default however long that takes, and returns what it printed.

    `env` is added to the environment. Ctrl-C, like any exception, ends the program too. ToolError where it cannot be started.
    What takes more than `timeout_s` seconds is killed.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _LEAKING} | dict(env or {})
    try:
        child = subprocess.Popen(
            list(command), stdin=_PIPE, stdout=_PIPE, stderr=_PIPE, env=environment, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise ToolError(f"cannot start {command[0]}: {reason}; the command was {shlex.join(command)}") from error
    _running.add(child)
    over_s = None
    with child:
        try:
            stdout, stderr = child.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            stdout, stderr = child.communicate()
            over_s = timeout_s
        except BaseException:
            child.kill()
            child.wait()  # subprocess.run would leave it dying, with its files in use
            raise
        finally:
            _running.discard(child)
    return Finished(tuple(command), child.returncode, stdout, stderr, over_s)
