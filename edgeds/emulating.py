"""Runs on emulated devices that are not made twice: what an artifact answered there, and the trace of one inference.

A run is found again by artifact, samples, runtime, what the guest sees of the device, the image that the device is emulated with, and the
code that runs in it: a new cost of memory or of an instruction in a device's tables needs no new emulation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeds import __version__
from edgeds.cache import Cache, digest
from edgeds.devices.profile import DeviceProfile
from edgeds.emulator import guest
from edgeds.progress import Progress
from edgeds.run import host
from edgeds.run.emulator import EmulatedRun, SlicedRun
from edgeds.spec import Array, Artifact, RunRecord, Runtime
from edgeds.trace import Block, Lines, Trace


class Image(Protocol):
    """What devices are emulated with."""

    @property
    def digest(self) -> str:
        """The sha256 of all that it was made from."""


class Emulator(Protocol):
    """The shape of `edgeds.run.emulator`."""

    def check(self, progress: Progress | None = None) -> Image:
        """The image, made now if it is not there."""

    def run(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        device: DeviceProfile,
        timeout_s: float = ...,
    ) -> EmulatedRun:
        """Runs the artifact's file at `path` on every sample."""

    def run_sliced(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        device: DeviceProfile,
        timeout_s: float = ...,
    ) -> SlicedRun:
        """Runs it on the first sample, and tells each operator's work apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An artifact to be run in a runtime on a device. `inputs_digest` is the sha256 of `inputs`."""

    artifact: Artifact
    path: Path
    runtime: Runtime
    device: DeviceProfile
    inputs: tuple[Array, ...]
    inputs_digest: str
    time_limit_s: float

    @property
    def subject(self) -> str:
        """Like `onnx-int8@onnxruntime`."""
        return f"{self.artifact.name}@{self.runtime}"

    def key(self, image_digest: str) -> str:
        """What its run is found again by, in hex."""
        seen = guest.seen_of(self.device)
        parts = (self.artifact.sha256, self.inputs_digest, self.runtime, self.device.name, seen, image_digest)
        return digest(*parts, __version__, host.AGENT.read_bytes(), "with places")  # what `save` writes


def emulated(job: Job, emulator: Emulator, image_digest: str, store: Cache | None) -> EmulatedRun:
    """The run of `job`, from `store` if it is there. ToolError where the runtime refuses the artifact, crashes, or takes too long."""
    if store is None:
        return _run(job, emulator)
    kept: list[EmulatedRun] = []

    def fill(target: Path) -> None:
        kept.append(_run(job, emulator))
        save(kept[0], target)

    # a cache of its own: it is not made for use by several threads
    with Cache(store.root) as own:
        place = own.get_or_make("emulated", job.key(image_digest), fill)
        return kept[0] if kept else load(place, job)


def _run(job: Job, emulator: Emulator) -> EmulatedRun:
    return emulator.run(job.artifact, job.path, job.runtime, job.inputs, job.device, timeout_s=job.time_limit_s)


def save(run: EmulatedRun, folder: Path) -> None:
    """Writes `run` into `folder`: `output_K.npy`, `lines.npy` (int64, a row a block), `code`, and `run.json`."""
    for k, output in enumerate(run.record.outputs):
        np.save(folder / f"output_{k}.npy", output, allow_pickle=False)
    blocks = run.trace.blocks
    rows = [(b.address, b.place, b.executions, len(b.code), *astuple(b.lines)) for b in blocks]
    np.save(folder / "lines.npy", np.array(rows, np.int64).reshape(len(blocks), -1), allow_pickle=False)
    (folder / "code").write_bytes(b"".join(block.code for block in blocks))
    text = {
        "runtime_version": run.record.runtime_version,
        "device": run.record.device,
        "image_digest": run.image_digest,
        "regions": run.trace.regions,
        "peak_bytes": run.trace.peak_bytes,
        "other_threads": run.trace.other_threads,
        "n_outputs": len(run.record.outputs),
        "functions": [(block.symbol, block.library) for block in blocks],
    }
    (folder / "run.json").write_text(json.dumps(text))


def load(folder: Path, job: Job) -> EmulatedRun:
    """The run that was saved in `folder`."""
    text = json.loads((folder / "run.json").read_text())
    outputs = tuple(np.load(folder / f"output_{k}.npy", allow_pickle=False) for k in range(text["n_outputs"]))
    record = RunRecord(job.artifact.sha256, job.runtime, text["runtime_version"], text["device"], outputs, wall_ms=())
    rows = np.load(folder / "lines.npy", allow_pickle=False).tolist()
    blocks = _blocks(rows, text["functions"], (folder / "code").read_bytes())
    trace = Trace(blocks, text["regions"], text["peak_bytes"], text["other_threads"])
    return EmulatedRun(record, trace, text["image_digest"])


def _blocks(rows: Sequence[Sequence[int]], functions: Sequence[Any], code: bytes) -> tuple[Block, ...]:
    blocks, at = [], 0
    for (address, place, executions, size, *lines), (symbol, library) in zip(rows, functions, strict=True):
        moved = Lines(**dict(zip((field.name for field in fields(Lines)), lines, strict=True)))
        blocks.append(Block(address, code[at : at + size], executions, moved, symbol, library, place))
        at += size
    return tuple(blocks)
