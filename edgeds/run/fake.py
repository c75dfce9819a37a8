"""A runner that starts nothing: it returns what a test has programmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeds.errors import EdgedsError, ToolError
from edgeds.spec import Array, Artifact, RunRecord, Runtime


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
