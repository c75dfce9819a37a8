"""Runs artifacts on this machine, each in a process of its own: the agent that also runs on devices."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeds.errors import ToolError
from edgeds.process import Finished, run_process
from edgeds.run import tflite_env
from edgeds.spec import Array, Artifact, RunRecord, Runtime

AGENT = Path(__file__).with_name("agent.py")

_MODULES = {
    Runtime.EXECUTORCH: "executorch",
    Runtime.ONNXRUNTIME: "onnxruntime",
    Runtime.LITERT: "ai_edge_litert",
}


def check(runtime: Runtime) -> None:
    """ToolError where `runtime` cannot run here, with the next step. Builds tflite-runtime's environment if it is not there."""
    if runtime is Runtime.TFLITE_RUNTIME:
        tflite_env.interpreter()
    elif importlib.util.find_spec(_MODULES[runtime]) is None:
        package = _MODULES[runtime].replace("_", "-")
        raise ToolError(f"the runtime {runtime} is not installed; install it with: pip install {package}")


def run(
    artifact: Artifact, path: Path, runtime: Runtime, inputs: tuple[Array, ...], threads: int = 1, repeats: int = 1
) -> RunRecord:
    """Runs the artifact's file at `path` on every sample.

    inputs[k]: float32 [N, ...], N samples of the k-th input without batch axis, axes as PyTorch has them; an artifact with a batch of B
    takes B of them at once. Each batch runs `repeats` times; `wall_ms` has all those times, batch by batch.
    Outputs have PyTorch's order of axes too. ToolError where the runtime is missing, refuses the
    artifact or the inputs, or crashes.
    """
    with tempfile.TemporaryDirectory(prefix="edgeds-run-") as folder:
        asked = request(artifact, path, runtime, inputs, Path(folder)) | {"threads": threads, "repeats": repeats}
        count = str(threads)
        env = {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        done = run_process([*_python(runtime), str(AGENT)], json.dumps(asked), env)
        answered = answer(done, f"{artifact.name}@{runtime}")
        return RunRecord(
            artifact_sha256=artifact.sha256,
            runtime=runtime,
            runtime_version=answered["runtime_version"],
            device=f"host {platform.machine()}",
            outputs=tuple(np.load(output, allow_pickle=False) for output in answered["outputs"]),
            wall_ms=tuple(answered["wall_ms"]),
        )


def request(
    artifact: Artifact, path: Path, runtime: Runtime, inputs: tuple[Array, ...], folder: Path
) -> dict[str, object]:
    """What the agent is asked: to run each batch once with one thread; writes the inputs into `folder`, where the outputs will be."""
    return {
        "runtime": str(runtime),
        "artifact": str(path.absolute()),
        "inputs": [_save(folder / f"input_{k}.npy", x) for k, x in enumerate(inputs)],
        "layout": str(artifact.layout),
        "output_layout": str(artifact.layout),
        "threads": 1,
        "outputs": str(folder),
        "repeats": 1,
    }


def _python(runtime: Runtime) -> list[str]:
    """The interpreter, and the flags that keep the caller's environment variables and this folder off its path."""
    if runtime is Runtime.TFLITE_RUNTIME:
        return [str(tflite_env.interpreter()), "-I"]
    return [sys.executable, "-E", "-P"]  # no -I: the user's site-packages may be where edgeds is installed


def _save(path: Path, x: Array) -> str:
    np.save(path, np.ascontiguousarray(x), allow_pickle=False)
    return str(path)


def answer(done: Finished, subject: str) -> dict[str, Any]:
    """The JSON that a program answered with. ToolError where it failed or answers with an error."""
    try:
        answered: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise done.failure(subject) from error
    if done.returncode != 0 or "error" in answered:
        raise done.failure(subject, answered.get("error", ""))
    return answered
