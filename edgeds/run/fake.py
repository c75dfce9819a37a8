"""Runners that start nothing: they return what a test has programmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeds.devices.profile import DeviceProfile
from edgeds.errors import EdgedsError, ToolError
from edgeds.progress import Progress
from edgeds.run.emulator import EmulatedRun, SlicedRun
from edgeds.spec import Array, Artifact, RunRecord, Runtime
from edgeds.trace import Trace


@dataclass(slots=True)
class FakeRunner:
    """Has the shape of `edgeds.run.host`: `check` and `run`.

    `outputs` maps ARTIFACT@RUNTIME (`onnx-int8@onnxruntime`) to the outputs that a run returns, [N, ...] each, or to
    the error that it raises; `missing` maps a runtime to the message of its check. `runs` keeps what was run.
    """

    outputs: Mapping[str, tuple[Array, ...] | EdgedsError]
    missing: Mapping[Runtime, str] = field(default_factory=dict)
    wall_ms: float = 1.0
    runs: list[str] = field(default_factory=list)

    def check(self, runtime: Runtime) -> None:
        """ToolError where `runtime` was programmed to be missing."""
        if runtime in self.missing:
            raise ToolError(self.missing[runtime])

    def run(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        threads: int = 1,
        repeats: int = 1,
    ) -> RunRecord:
        """The programmed outputs of the first N samples; the programmed error; ToolError where there is neither."""
        self.check(runtime)
        subject = f"{artifact.name}@{runtime}"
        self.runs.append(subject)
        if subject not in self.outputs:
            raise ToolError(f"the fake runner has no outputs for {subject!r}; choose from {', '.join(self.outputs)}")
        programmed = self.outputs[subject]
        if isinstance(programmed, EdgedsError):
            raise programmed
        n_samples = len(inputs[0])
        return RunRecord(
            artifact_sha256=artifact.sha256,
            runtime=runtime,
            runtime_version="0",
            device="fake",
            outputs=tuple(output[:n_samples] for output in programmed),
            wall_ms=(self.wall_ms,) * (n_samples * repeats),
        )


@dataclass(slots=True)
class FakeEmulator:
    """Has the shape of `edgeds.run.emulator`: `check`, `run` and `run_sliced`. Each run executes `trace`, or `sliced`; `outputs` is as for FakeRunner.

    `runs` keeps what was run, like `onnx-int8@onnxruntime on raspberry-pi-4`.
    """

    outputs: Mapping[str, tuple[Array, ...] | EdgedsError]
    trace: Trace
    digest: str = "0" * 64
    sliced: SlicedRun = field(default_factory=lambda: SlicedRun(()))
    runs: list[str] = field(default_factory=list)
    time_limits_s: list[float] = field(default_factory=list)

    def check(self, progress: Progress | None = None) -> FakeEmulator:
        """Itself, which has the `digest` of an image."""
        return self

    def run(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        device: DeviceProfile,
        timeout_s: float = 1.0,
    ) -> EmulatedRun:
        """The programmed outputs of the first N samples, or the programmed error."""
        subject = f"{artifact.name}@{runtime}"
        self.runs.append(f"{subject} on {device.name}")
        self.time_limits_s.append(timeout_s)
        programmed = self.outputs[subject]
        if isinstance(programmed, EdgedsError):
            raise programmed
        answers = tuple(output[: len(inputs[0])] for output in programmed)
        record = RunRecord(artifact.sha256, runtime, "0", f"emulated {device.name}", answers, wall_ms=())
        return EmulatedRun(record, self.trace, self.digest)

    def run_sliced(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        device: DeviceProfile,
        timeout_s: float = 1.0,
    ) -> SlicedRun:
        """The programmed slices, of every artifact."""
        self.runs.append(f"layers of {artifact.name}@{runtime} on {device.name}")
        return self.sliced
