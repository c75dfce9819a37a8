"""Lowerings in processes of their own: `python -m edgeds.export.worker`, a Request as JSON on stdin, an Artifact as JSON for each job.

Lowering is pure-Python work that holds the interpreter lock, and the converters print and patch as they like: a process a
format runs them side by side and keeps all of that away from each other and from the user's session. What every converter
imports takes seconds, so it is imported once, and each job is a fork of that process.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeds.errors import EdgedsError
from edgeds.spec import Artifact, Format, Precision, TfliteIo


@dataclass(frozen=True, slots=True)
class Job:
    """Lower the program at `stem` to `path`."""

    format: Format
    precision: Precision
    stem: Path
    path: Path
    tflite_io: TfliteIo = TfliteIo.INT8


@dataclass(frozen=True, slots=True)
class Request:
    """Jobs in the order in which they start, at most `at_once` at a time, and where each one's converter prints to."""

    jobs: tuple[Job, ...]
    logs: tuple[Path, ...]
    at_once: int


def run(job: Job) -> Artifact:
    """Does a job in this process. Raises ModelError where the converter or its runtime cannot take a step of the program."""
    from edgeds import program as programs
    from edgeds.export import EXPORTERS, refusal

    exporter = EXPORTERS[job.format]
    options: dict[str, Any] = {"io": job.tflite_io} if job.format is Format.TFLITE else {}
    program = programs.load(job.stem)
    refusal.refuse_scales(program, job.format)
    try:
        artifact: Artifact = exporter.export(program, job.precision, job.path, **options)
        refusal.require_loadable(job.format, job.path, artifact.outside)
    except EdgedsError:
        raise
    except Exception as error:  # converters raise many kinds, none of them public
        if (refused := refusal.explained(program, job.format, error)) is None:
            raise
        raise refused from error
    return artifact


def main() -> None:
    """Reads a Request from stdin's first line and does its jobs; see `edgeds.export.lower` for who starts this.

    Says on stdout `start K` and `end K CODE` for the K-th job, and writes the Artifact beside its file, as PATH.artifact.json. Whoever
    started it keeps stdin open: when that end closes, every job ends too, however their starter died.
    """
    from pydantic import TypeAdapter

    answers = os.dup(1)
    os.dup2(2, 1)  # what imports print is no answer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    gc.disable()  # it takes a tenth of the time to look through graphs for a process that ends soon; costs a fifth more memory
    request = TypeAdapter(Request).validate_json(sys.stdin.buffer.readline())
    import_module("torchao.quantization.pt2e.quantize_pt2e")  # with all of torch that converters need
    waiting = list(range(len(request.jobs)))
    running: dict[int, int] = {}
    while waiting or running:
        while waiting and len(running) < request.at_once:
            k = waiting.pop(0)
            running[_fork(request.jobs[k], request.logs[k], answers)] = k
            os.write(answers, f"start {k}\n".encode())
        process, status = os.waitpid(-1, 0)
        os.write(answers, f"end {running.pop(process)} {os.waitstatus_to_exitcode(status)}\n".encode())


def _fork(job: Job, log: Path, answers: int) -> int:
    """Starts a job, and returns its process; what it prints goes to `log`, which ends with the traceback of a failure."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    process = os.fork()
    if process:
        os.close(file)
        return process
    code = 1
    try:
        os.close(answers)  # they end when the process that gives them does
        os.dup2(file, 1)
        os.dup2(file, 2)
        threading.Thread(target=_end_with_starter, daemon=True).start()
        _do(job)
        code = 0
    except BaseException:  # noqa: BLE001  the log has it, and the caller reads it there
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _do(job: Job) -> None:
    from pydantic import TypeAdapter

    text = TypeAdapter(Artifact).dump_python(run(job), mode="json")
    job.path.with_name(job.path.name + ".artifact.json").write_text(json.dumps(text))


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
