"""The integer twin: what a runtime answers for an int8 artifact, predicted bit for bit on any machine, from the artifact alone.

A runtime's int8 arithmetic is exact integer sums and one float32 product a value; nothing of it depends on the machine but the speed, and
ONNX Runtime's sum of two tensors (see edgeds.twin.addition).
One file holds one family of operators, with the source of its formula; `litert`, `onnxruntime` and `executorch` read an artifact and
say which formula the runtime takes for each operator. What they have no formula for is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path

from edgeds.errors import InputError, unknown_choice
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Layout, Precision, Runtime
from edgeds.twin.graph import Layer, Quantization, Twin, Value

__all__ = ["Layer", "Machine", "Quantization", "Twin", "Value", "load", "outputs"]

# One module a runtime, each with load(path, layout) -> Twin.
MODULES = {Runtime.EXECUTORCH: "executorch", Runtime.ONNXRUNTIME: "onnxruntime", Runtime.LITERT: "litert"}


class Machine(StrEnum):
    """What the runtime runs on."""

    X86_64 = "x86_64"
    ARM64 = "aarch64"


def load(artifact: Artifact, path: Path, runtime: Runtime, machine: Machine = Machine.X86_64) -> Twin:
    """The twin of the artifact's file at `path` in `runtime` on `machine`.

    InputError for a float artifact and for a runtime without a twin; ModelError names an operator that is not modelled, and its place.
    """
    if artifact.precision is not Precision.INT8:
        raise InputError(
            f"{artifact.name} computes in floats, which round as each machine does; a twin needs an int8 artifact"
        )
    if runtime not in RUNTIMES_OF[artifact.format]:
        raise unknown_choice(f"runtime of {artifact.format}", str(runtime), RUNTIMES_OF[artifact.format])
    if runtime not in MODULES:
        raise unknown_choice("runtime with a twin", str(runtime), MODULES)
    module = import_module(f"edgeds.twin.{MODULES[runtime]}")
    is_another = machine is Machine.ARM64 and runtime is Runtime.ONNXRUNTIME
    read: Callable[[Path, Layout], Twin] = module.load_arm if is_another else module.load
    return read(path, artifact.layout)


def outputs(
    artifact: Artifact,
    path: Path,
    runtime: Runtime,
    inputs: tuple[Array, ...],
    machine: Machine = Machine.X86_64,
) -> tuple[Array, ...]:
    """What edgeds.run.host.run, or on ARM64 edgeds.run.emulator.run, would return as `outputs`: float32 [N, ...] each, for float32
    [N, ...] inputs.
    """
    return load(artifact, path, runtime, machine).run(inputs)
