"""One lowering in a process of its own: `python -m edgeds.export.worker`, a JSON request on stdin, the Artifact as JSON in a file.

Lowering is pure-Python work that holds the interpreter lock, and the converters print and patch as they like: a process a
format runs them side by side and keeps all of that away from the user's session.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
import warnings
from dataclasses import dataclass
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
    """Reads a Job from stdin's first line, does it, and writes the Artifact beside its file, as PATH.artifact.json.

    Whoever started it keeps stdin open: when that end closes, the worker ends too, however its starter died.
    """
    from pydantic import TypeAdapter

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    gc.disable()  # it takes a tenth of the time to look through graphs for a process that ends soon; costs a fifth more memory
    job = TypeAdapter(Job).validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_starter, daemon=True).start()
    artifact = run(job)
    text = TypeAdapter(Artifact).dump_python(artifact, mode="json")
    job.path.with_name(job.path.name + ".artifact.json").write_text(json.dumps(text))


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
