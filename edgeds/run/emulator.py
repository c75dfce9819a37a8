"""Runs artifacts on an emulated device: the agent that runs everywhere, and for ExecuTorch, whose Python needs torch, a program of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeds import folders
from edgeds.devices.profile import DeviceProfile
from edgeds.emulator import guest, setup, slicing, wheels
from edgeds.emulator.image import EXECUTORCH, Image
from edgeds.errors import ToolError
from edgeds.process import Finished
from edgeds.progress import Progress
from edgeds.run import host
from edgeds.spec import Array, Artifact, RunRecord, Runtime
from edgeds.trace import Slice, Trace

TIME_LIMIT_S = guest.TIME_LIMIT_S

_PROFILE = "profile"  # how the name of its file begins

# ScalarType of ExecuTorch (runtime/core/portable_type/scalar_type.h)
_DTYPES = {0: "u1", 1: "i1", 2: "i2", 3: "i4", 4: "i8", 5: "f2", 6: "f4", 7: "f8", 11: "?"}


@dataclass(frozen=True, slots=True, eq=False)
class EmulatedRun:
    """What an artifact computed on an emulated device, and what its first batch executed. `image_digest` says with which programs.

    The trace's `peak_bytes` are of the whole process: with Python and numpy, except for ExecuTorch, which runs without them.
    """

    record: RunRecord
    trace: Trace
    image_digest: str


@dataclass(frozen=True, slots=True)
class Profiled:
    """An operator as the runtime's own profile has it; `emulator_us` as in edgeds.trace.Slice, by the guest's clock."""

    name: str
    operator: str
    emulator_us: int


@dataclass(frozen=True, slots=True)
class SlicedRun:
    """One inference, divided where the runtime begins an operator: `slices` are between two such points, one after another.

    `profile` has each one that ran, where the runtime tells; then its slice is every second one, for there is one between two of them as
    well. Nothing is in either where the runtime does not show where its operators begin.
    """

    slices: tuple[Slice, ...]
    profile: tuple[Profiled, ...] = ()


def check(progress: Progress | None = None) -> Image:
    """The image with all runtimes, made now if it is not there. ToolError where this host cannot make it, with the next step."""
    return setup.ensure(progress)


def run(
    artifact: Artifact,
    path: Path,
    runtime: Runtime,
    inputs: tuple[Array, ...],
    device: DeviceProfile,
    timeout_s: float = TIME_LIMIT_S,
    progress: Progress | None = None,
) -> EmulatedRun:
    """Runs the artifact's file at `path` on every sample with one thread, and counts the first batch's second run.

    inputs[k]: float32 [N, ...], N samples of the k-th input without batch axis, axes as PyTorch has them; outputs alike. ToolError where the
    runtime refuses the artifact or the inputs, crashes, or is not done within `timeout_s`.
    """
    image = check(progress)
    with folders.temporary("edgeds-run-") as folder:
        version, outputs, trace = _run(
            _Job(image, artifact, path.absolute(), runtime, inputs, device, timeout_s, folder)
        )
    record = RunRecord(artifact.sha256, runtime, version, f"emulated {device.name}", outputs, wall_ms=())
    return EmulatedRun(record, trace, image.digest)


def run_sliced(
    artifact: Artifact,
    path: Path,
    runtime: Runtime,
    inputs: tuple[Array, ...],
    device: DeviceProfile,
    timeout_s: float = TIME_LIMIT_S,
) -> SlicedRun:
    """Runs the artifact's file at `path` on the first sample, for what each operator executes. Raises what `run` does.

    ONNX Runtime profiles itself meanwhile, so that this is not the run that is timed.
    """
    image = check()
    one = tuple(x[:1] for x in inputs)
    with folders.temporary("edgeds-run-") as folder:
        if (cuts := slicing.slices(image, runtime)) is None:
            return SlicedRun(())
        _, _, trace = _run(_Job(image, artifact, path.absolute(), runtime, one, device, timeout_s, folder, cuts))
        return SlicedRun(trace.slices, tuple(_profile(folder)))


def _profile(folder: Path) -> Iterator[Profiled]:
    """Of the last of two inferences, if there is a profile: the warm-up comes before."""
    for file in folder.glob(f"{_PROFILE}*.json"):
        nodes = [event for event in json.loads(file.read_text()) if event["cat"] == "Node"]
        for event in nodes[len(nodes) // 2 :]:
            yield Profiled(event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], event["dur"])


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What is run where; `folder` is for its arrays, `slices` divides the trace."""

    image: Image
    artifact: Artifact
    path: Path
    runtime: Runtime
    inputs: tuple[Array, ...]
    device: DeviceProfile
    timeout_s: float
    folder: Path
    slices: str = ""

    @property
    def subject(self) -> str:
        return f"{self.artifact.name}@{self.runtime} on {self.device.name}"


def _run(job: _Job) -> tuple[str, tuple[Array, ...], Trace]:
    """The runtime's version, the outputs and the trace."""
    version, outputs, trace = (_run_executorch if job.runtime is Runtime.EXECUTORCH else _run_agent)(job)
    if trace.regions != 1:
        raise ToolError(f"{job.subject} marked {trace.regions} regions instead of one; report this as a bug in edgeds")
    return version, outputs, trace


def _run_agent(job: _Job) -> tuple[str, tuple[Array, ...], Trace]:
    """The same for the runtimes that have Python."""
    asked = host.request(job.artifact, job.path, job.runtime, job.inputs, job.folder) | {"mark": True}
    if job.slices == slicing.CLOCK:
        asked["profile"] = str(job.folder / _PROFILE)
    counted = _count(job, guest.python(job.image, str(host.AGENT)), json.dumps(asked))
    answer = host.answer(counted.finished, job.subject)
    outputs = tuple(np.load(output, allow_pickle=False) for output in answer["outputs"])
    return answer["runtime_version"], outputs, counted.trace


def _run_executorch(job: _Job) -> tuple[str, tuple[Array, ...], Trace]:
    """The same for ExecuTorch, whose artifacts have PyTorch's order of axes."""
    for k, x in enumerate(job.inputs):
        np.ascontiguousarray(x, np.float32).tofile(job.folder / f"input_{k}.raw")
    n_samples = len(job.inputs[0])
    runner = job.image.guest / EXECUTORCH / "executorch_runner"
    command = [str(runner), str(job.path), str(job.folder), str(n_samples)]
    counted = _count(job, command)
    _check_shapes(counted.finished, job)
    tensors = host.answer(counted.finished, job.subject)["outputs"]
    outputs = tuple(_read(job.folder / f"output_{k}.raw", tensor, n_samples) for k, tensor in enumerate(tensors))
    return wheels.version("executorch"), outputs, counted.trace


def _count(job: _Job, command: list[str], stdin: str = "") -> guest.Counted:
    return guest.count(job.image, job.device, command, stdin, job.timeout_s, subject=job.subject, slices=job.slices)


def _check_shapes(done: Finished, job: _Job) -> None:
    """The runner compares bytes only, but says what it takes."""
    try:
        wanted = [tensor["shape"] for tensor in json.loads(done.stdout)["inputs"]]
    except ValueError:
        return  # it failed before
    got = [[*shape[:1], *x.shape[1:]] for shape, x in zip(wanted, job.inputs, strict=False)]
    if len(wanted) != len(job.inputs) or got != wanted:
        raise done.failure(job.subject, f"the inputs have the shapes {got}, the artifact takes {wanted}")


def _read(path: Path, tensor: dict[str, Any], n_samples: int) -> Array:
    """float32 [N, ...] from the rows that the runner wrote."""
    rows = np.fromfile(path, _DTYPES[tensor["type"]])
    return rows.reshape(n_samples, *tensor["shape"][1:]).astype(np.float32)
