"""int8 against uint8 activations in ONNX Runtime, by core: what `UINT8_ACTIVATIONS` of edgeds.export.onnx rests on. `make bench-activations`.

Prints the estimated time with int8 over that with uint8, for the same graph of each net, random weights, on one device a core.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path

import numpy as np

import edgeds
from edgeds import devices, process
from edgeds.devices.profile import DeviceProfile
from edgeds.export import onnx
from edgeds.latency.estimate import estimate
from edgeds.run import emulator
from edgeds.spec import Array, Artifact, Precision, Program, Runtime

NETS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0")
DEVICES = ("raspberry-pi-3b-plus", "galaxy-a03-core", "raspberry-pi-4", "pixel-2", "raspberry-pi-5", "oneplus-nord-2")
TYPES = ("uint8", "int8")
N_CALIBRATION = 4  # latency does not depend on the data


def main() -> None:
    """All nets, or those named on the command line; a row each."""
    emulator.check()
    profiles = [devices.load(name) for name in DEVICES]
    print(f"| int8 / uint8 | {' | '.join(profile.core.name for profile in profiles)} |")
    print(f"|---|{'--:|' * len(profiles)}", flush=True)
    for name in sys.argv[1:] or NETS:
        with tempfile.TemporaryDirectory() as folder:
            ratios = _ratios(name, profiles, Path(folder))
        print(f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)


def _ratios(name: str, profiles: list[DeviceProfile], folder: Path) -> list[float]:
    graph, inputs = _graph(name, folder)
    artifacts = {kind: _exported(graph, kind, folder) for kind in TYPES}
    with process.pool() as pool:
        running = {
            (kind, profile.name): pool.submit(_milliseconds, artifacts[kind], folder, inputs, profile)
            for profile in profiles
            for kind in TYPES
        }
        return [_ratio(running, profile.name) for profile in profiles]


def _ratio(running: dict[tuple[str, str], Future[float]], device: str) -> float:
    return running["int8", device].result() / running["uint8", device].result()


def _graph(name: str, folder: Path) -> tuple[Program, tuple[Array, ...]]:
    """The quantized graph, and one sample."""
    model = edgeds.load_model(name)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(N_CALIBRATION, *model.input_shapes[0][1:])).astype(np.float32)
    np.savez(folder / "noise.npz", data)
    quantized = edgeds.quantize(model, folder / "noise.npz", validation=folder / "noise.npz", recipe="w8c-a8t-minmax")
    return quantized.graph, (data[:1],)


def _exported(graph: Program, kind: str, folder: Path) -> Artifact:
    onnx.UINT8_ACTIVATIONS = kind == "uint8"
    made = onnx.export(graph, Precision.INT8, folder / f"{kind}.onnx")
    onnx.UINT8_ACTIVATIONS = True
    return made


def _milliseconds(artifact: Artifact, folder: Path, inputs: tuple[Array, ...], profile: DeviceProfile) -> float:
    path = folder / artifact.path.name
    return estimate(emulator.run(artifact, path, Runtime.ONNXRUNTIME, inputs, profile).trace, profile).ms


if __name__ == "__main__":
    main()
