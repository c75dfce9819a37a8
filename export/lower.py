"""Programs → artifacts: every format in a process of its own, side by side."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeds.errors import ModelError, ToolError
from edgeds.export.worker import Job, Request
from edgeds.process import cores, last_line
from edgeds.spec import Artifact, Format

# CPU seconds of MobileNetV2, relative: what takes longest starts first.
COST = {Format.EXECUTORCH: 15, Format.TFLITE: 9, Format.ONNX: 4}
MAX_REASON = 300  # characters
MODEL_ERROR = f"{ModelError.__module__}.{ModelError.__qualname__}: "  # how a traceback ends with one

Event = Callable[[Job, str], None]


def lower(
    jobs: Sequence[Job], log_folder: Path, workers: int | None = None, event: Event = lambda job, what: None
) -> tuple[Artifact, ...]:
    """Does all jobs, at most `workers` (default: one a core) at once; artifacts come in the order of the jobs.

    What a converter prints goes to `log_folder`/NAME.log. `event(job, "start" | "done")` tells the progress. The first failure stops
    the others and raises ModelError where a step of the program is its reason, else ToolError with the converter's last line, and where
    its log is. Any exception, Ctrl-C too, leaves no process behind.
    """
    if not jobs:
        return ()
    queue = sorted(jobs, key=lambda job: -COST[job.format])
    logs = [log_folder / f"{job.path.name}.log" for job in queue]
    log = log_folder / "worker.log"
    with _worker(Request(tuple(queue), tuple(logs), workers or cores()), log) as worker:
        for answer in worker.stdout or ():
            what, k, *code = answer.split()
            if what == "end":
                _require(f"lowering to {queue[int(k)].format} {queue[int(k)].precision}", int(code[0]), logs[int(k)])
            event(queue[int(k)], "start" if what == "start" else "done")
        _require("lowering", worker.wait(), log)
    log.unlink()
    return tuple(_read(job) for job in jobs)


@contextmanager
def _worker(request: Request, log: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that does the jobs; it ends with the block, and with it all that it started."""
    from pydantic import TypeAdapter

    # -P: files in the user's folder, like an onnx.py, are none of the worker's business.
    command = [sys.executable, "-P", "-m", "edgeds.export.worker"]
    # One thread: lowering is Python work, and a fixed thread count keeps float sums the same everywhere.
    # ORT_DISABLE_TELEMETRY: ONNX Runtime's official builds send usage data unless told not to.
    environment = {
        "ORT_DISABLE_TELEMETRY": "1",
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with log.open("wb") as stream:
        # A session of its own, so that the programs a converter starts end with it; stdin stays open, see worker.main.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            start_new_session=True,
            text=True,
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        with suppress(BrokenPipeError):  # a worker that is dead already says why in its log
            process.stdin.write(TypeAdapter(Request).dump_json(request).decode() + "\n")
            process.stdin.flush()
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _require(what: str, code: int, log: Path) -> None:
    """Raises the error of a process that ended with another code than 0."""
    if code:
        told = last_line(log.read_text(errors="replace"))
        if told.startswith(MODEL_ERROR):  # what the user can change, said by edgeds itself
            raise ModelError(f"{told.removeprefix(MODEL_ERROR)}; the whole log is {log}")
        told = re.sub(r"^edgeds\.errors\.\w+: ", "", told)[:MAX_REASON]
        reason = f"it was ended by {_signal(-code)}" if code < 0 else told
        raise ToolError(f"{what} failed: {reason}; the whole log is {log}")


def _signal(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name}, perhaps for lack of memory: try one worker" if number == signal.SIGKILL else name


def _read(job: Job) -> Artifact:
    from pydantic import TypeAdapter

    path = job.path.with_name(job.path.name + ".artifact.json")
    artifact = TypeAdapter(Artifact).validate_json(path.read_text())
    path.unlink()
    return artifact
