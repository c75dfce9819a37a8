"""Programs → artifacts: every format in a process of its own, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeds.errors import ToolError
from edgeds.export.worker import Job
from edgeds.spec import Artifact, Format

# CPU seconds of MobileNetV2, relative: what takes longest starts first.
COST = {Format.EXECUTORCH: 15, Format.TFLITE: 9, Format.ONNX: 4}
POLL_S = 0.05

Event = Callable[[Job, str], None]


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    stream: IO[bytes]


def lower(
    jobs: Sequence[Job], log_folder: Path, workers: int | None = None, event: Event = lambda job, what: None
) -> tuple[Artifact, ...]:
    """Does all jobs, at most `workers` (default: one a core) at once; artifacts come in the order of the jobs.

    What a converter prints goes to `log_folder`/NAME.log. `event(job, "start" | "done")` tells the progress. The first failure stops
    the others and raises ToolError with the converter's last line and where its log is.
    """
    waiting = sorted(jobs, key=lambda job: -COST[job.format])
    running: list[_Running] = []
    limit = workers or os.cpu_count() or 1
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
            entry.process.kill()
            entry.process.wait()
            entry.stream.close()
    return tuple(_read(job) for job in jobs)


def _start(job: Job, log_folder: Path) -> _Running:
    from pydantic import TypeAdapter

    log = log_folder / f"{job.path.name}.log"
    stream = log.open("wb")
    command = [sys.executable, "-m", "edgeds.export.worker"]
    # One thread: lowering is Python work, and a fixed thread count keeps float sums the same everywhere.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    assert process.stdin is not None
    process.stdin.write(TypeAdapter(Job).dump_json(job))
    process.stdin.close()
    return _Running(job, process, log, stream)


def _finish(entry: _Running) -> None:
    entry.stream.close()
    if entry.process.returncode == 0:
        return
    lines = [line for line in entry.log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1][:300] if lines else f"exit code {entry.process.returncode}"
    raise ToolError(f"lowering to {entry.job.format} {entry.job.precision} failed: {last} (whole log: {entry.log})")


def _read(job: Job) -> Artifact:
    from pydantic import TypeAdapter

    path = job.path.with_name(job.path.name + ".artifact.json")
    artifact = TypeAdapter(Artifact).validate_json(path.read_text())
    path.unlink()
    return artifact
