"""One lowering in a process of its own: `python -m edgeds.export.worker`, a JSON request on stdin, the Artifact as JSON in a file.

Lowering is pure-Python work that holds the interpreter lock, and the converters print and patch as they like: a process a
format runs them side by side and keeps all of that away from the user's session.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Does a job in this process."""
    from edgeds import program as programs
    from edgeds.export import EXPORTERS

    exporter = EXPORTERS[job.format]
    options: dict[str, Any] = {"io": job.tflite_io} if job.format is Format.TFLITE else {}
    return exporter.export(programs.load(job.stem), job.precision, job.path, **options)


def main() -> None:
    """Reads a Job from stdin, does it, and writes the Artifact beside its file, as PATH.artifact.json."""
    from pydantic import TypeAdapter

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    job = TypeAdapter(Job).validate_json(sys.stdin.read())
    artifact = run(job)
    text = TypeAdapter(Artifact).dump_python(artifact, mode="json")
    job.path.with_name(job.path.name + ".artifact.json").write_text(json.dumps(text))


if __name__ == "__main__":
    main()
