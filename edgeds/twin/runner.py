"""A runner that runs nothing: it has the shape of edgeds.run.host, and answers with the twin."""

from __future__ import annotations

import platform
from pathlib import Path

from edgeds import twin
from edgeds.errors import unknown_choice
from edgeds.spec import Array, Artifact, RunRecord, Runtime


def check(runtime: Runtime) -> None:
    """InputError where `runtime` has no twin."""
    if runtime not in twin.MODULES:
        raise unknown_choice("runtime with a twin", str(runtime), twin.MODULES)


def run(
    artifact: Artifact, path: Path, runtime: Runtime, inputs: tuple[Array, ...], threads: int = 1, repeats: int = 1
) -> RunRecord:
    """What edgeds.run.host.run would return, but for the times, which a twin has none of; raises as edgeds.twin.load does.

    `threads` and `repeats` change nothing of an answer, and are there for who calls any runner.
    """
    outputs = twin.outputs(artifact, path, runtime, inputs)
    return RunRecord(artifact.sha256, runtime, "twin", f"twin {platform.machine()}", outputs, ())
