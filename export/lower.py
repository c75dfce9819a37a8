"""Programs → artifacts: every format in a process of its own, side by side."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgeds.errors import ModelError, ToolError
from edgeds.export.worker import Job
from edgeds.process import cores, last_line
from edgeds.spec import Artifact, Format

# CPU seconds of MobileNetV2, relative: what takes longest starts first.
COST = {Format.EXECUTORCH: 15, Format.TFLITE: 9, Format.ONNX: 4}
POLL_S = 0.05
MAX_REASON = 300  # characters
MODEL_ERROR = f"{ModelError.__module__}.{ModelError.__qualname__}: "  # how a traceback ends with one

Event = Callable[[Job, str], None]


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: Path


def lower(
    jobs: Sequence[Job], log_folder: Path, workers: int | None = None, event: Event = lambda job, what: None
) -> tuple[Artifact, ...]:
    """Does all jobs, at most `workers` (default: one a core) at once; artifacts come in the order of the jobs.

    What a converter prints goes to `log_folder`/NAME.log. `event(job, "start" | "done")` tells the progress. The first failure stops
    the others and raises ModelError where a step of the program is its reason, else ToolError with the converter's last line, and where
    its log is. Any exception, Ctrl-C too, leaves no worker behind.
    """
    waiting = sorted(jobs, key=lambda job: -COST[job.format])
    running: list[_Running] = []
    limit = workers or cores()
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(_start(waiting.pop(0), log_folder))
                event(running[-1].job, "start")
            time.sleep(POLL_S)
            for entry in [entry for entry in running if entry.process.poll() is not None]:
                running.remove(entry)
                _finish(entry)
                event(entry.job, "done")
    finally:
        for entry in running:
            _end(entry)
    return tuple(_read(job) for job in jobs)


def _start(job: Job, log_folder: Path) -> _Running:
    log = log_folder / f"{job.path.name}.log"
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
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    entry = _Running(job, process, log)
    try:
        _send(entry)
    except BaseException:
        _end(entry)
        raise
    return entry


def _send(entry: _Running) -> None:
    from pydantic import TypeAdapter

    assert entry.process.stdin is not None
    with suppress(BrokenPipeError):  # a worker that is dead already says why in its log
        entry.process.stdin.write(TypeAdapter(Job).dump_json(entry.job) + b"\n")
        entry.process.stdin.flush()


def _end(entry: _Running) -> None:
    """Kills a worker with everything that it started, and waits until it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(entry.process.pid, signal.SIGKILL)
    entry.process.wait()
    _close(entry)


def _close(entry: _Running) -> None:
    if entry.process.stdin is not None:
        with suppress(BrokenPipeError):
            entry.process.stdin.close()


def _finish(entry: _Running) -> None:
    _close(entry)
    code = entry.process.returncode
    if code:
        told = last_line(entry.log.read_text(errors="replace"))
        if told.startswith(MODEL_ERROR):  # what the user can change, said by edgeds itself
            raise ModelError(f"{told.removeprefix(MODEL_ERROR)}; the whole log is {entry.log}")
        told = re.sub(r"^edgeds\.errors\.\w+: ", "", told)[:MAX_REASON]
        reason = f"it was ended by {_signal(-code)}" if code < 0 else told
        what = f"{entry.job.format} {entry.job.precision}"
        raise ToolError(f"lowering to {what} failed: {reason}; the whole log is {entry.log}")


def _signal(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name}, perhaps for lack of memory: try one worker" if number == signal.SIGKILL else name


def _read(job: Job) -> Artifact:
    from pydantic import TypeAdapter

    path = job.path.with_name(job.path.name + ".artifact.json")
    artifact = TypeAdapter(Artifact).validate_json(path.read_text())
    path.unlink()
    return artifact
