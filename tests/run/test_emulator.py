"""The four runtimes on emulated devices: what they compute, what is counted of it, and which kernels they choose."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import edgeds
from edgeds import devices, twin
from edgeds import program as programs
from edgeds.emulating import Job
from edgeds.emulator.image import Image
from edgeds.errors import ToolError
from edgeds.export import worker as lowering
from edgeds.export.lower import lower
from edgeds.latency.counts import dot_products
from edgeds.latency.estimate import estimate
from edgeds.layer_times import layer_times
from edgeds.run import emulator, host
from edgeds.run.emulator import EmulatedRun
from edgeds.spec import Array, Artifact, Format, Layout, Precision, Runtime
from tests.conftest import Lowered, Tiny

pytestmark = pytest.mark.emulator

MakeArtifact = Callable[..., Artifact]
Emulate = Callable[..., EmulatedRun]

PI_4 = devices.load("raspberry-pi-4")
FILES = {
    Runtime.EXECUTORCH: (Format.EXECUTORCH, "pte_file"),
    Runtime.ONNXRUNTIME: (Format.ONNX, "onnx_file"),
    Runtime.LITERT: (Format.TFLITE, "tflite_file"),
    Runtime.TFLITE_RUNTIME: (Format.TFLITE, "tflite_file"),
}
WITH_DOT_PRODUCTS = {"raspberry-pi-zero-2w": False, "raspberry-pi-4": False, "raspberry-pi-5": True}


@pytest.fixture(scope="module")
def emulate(tiny: Tiny, tiny_artifacts: Lowered) -> Emulate:
    """Runs the tiny model in int8 on two inputs; the `nth` run of the same kind, once a session. Needs the fixture `image`."""

    @functools.cache
    def run(runtime: Runtime, device: str, nth: int = 0) -> EmulatedRun:
        format_ = FILES[runtime][0]
        artifact = tiny_artifacts.artifacts[f"{format_}-int8"]
        return emulator.run(
            artifact, tiny_artifacts.folder / artifact.path, runtime, (tiny.inputs[:2],), devices.load(device)
        )

    return run


@pytest.mark.parametrize("runtime", Runtime)
def test_every_runtime_computes_what_the_model_does_and_is_counted_once(
    artifact: MakeArtifact, runtime: Runtime, inputs: tuple[Array, Array], image: Image, request: pytest.FixtureRequest
) -> None:
    format_, fixture = FILES[runtime]
    found = emulator.run(artifact(format_), request.getfixturevalue(fixture), runtime, inputs, PI_4)
    difference, positive = found.record.outputs
    np.testing.assert_array_equal(difference, inputs[0] - inputs[1])
    np.testing.assert_array_equal(positive, np.maximum(inputs[0], 0))
    assert found.record.outputs[0].dtype == np.float32
    assert (found.record.device, found.record.wall_ms) == ("emulated raspberry-pi-4", ())
    package = "ai-edge-litert" if runtime is Runtime.LITERT else str(runtime)
    assert found.record.runtime_version == next(part.version for part in image.parts if part.name == package)
    assert found.image_digest == image.digest
    assert found.trace.regions == 1
    assert 500 < found.trace.instructions < 200_000  # two operators on 24 elements, and what is around them
    assert found.trace.peak_bytes is not None and 2e6 < found.trace.peak_bytes < 100e6


@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.LITERT])
def test_counts_repeat_exactly(emulate: Emulate, runtime: Runtime, image: Image) -> None:
    first, second = emulate(runtime, "raspberry-pi-4").trace, emulate(runtime, "raspberry-pi-4", 1).trace
    assert first.blocks == second.blocks
    assert first.instructions > 10_000


def test_counts_of_onnxruntime_repeat_within_half_a_thousandth(emulate: Emulate, image: Image) -> None:
    first, second = (emulate(Runtime.ONNXRUNTIME, "raspberry-pi-4", nth).trace.instructions for nth in range(2))
    assert second == pytest.approx(first, rel=5e-4)


@pytest.mark.parametrize("device", WITH_DOT_PRODUCTS)
@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.LITERT, Runtime.ONNXRUNTIME])
def test_runtimes_choose_the_kernels_of_the_named_core(
    emulate: Emulate, runtime: Runtime, device: str, image: Image
) -> None:
    assert (dot_products(emulate(runtime, device).trace.blocks) > 0) == WITH_DOT_PRODUCTS[device]


def test_the_a53_gets_kernels_of_its_own(emulate: Emulate, image: Image) -> None:
    symbols = {d: {b.symbol for b in emulate(Runtime.LITERT, d).trace.blocks} for d in WITH_DOT_PRODUCTS}
    assert any(s.endswith("cortex_a53") or "cortex_a53" in s for s in symbols["raspberry-pi-zero-2w"])
    assert not any("cortex_a53" in s for s in symbols["raspberry-pi-5"])


@pytest.mark.parametrize("runtime", [Runtime.LITERT, Runtime.ONNXRUNTIME])
def test_the_device_answers_what_the_host_does(
    emulate: Emulate, runtime: Runtime, tiny: Tiny, tiny_artifacts: Lowered, image: Image
) -> None:
    artifact = tiny_artifacts.artifacts[f"{FILES[runtime][0]}-int8"]
    here = host.run(artifact, tiny_artifacts.folder / artifact.path, runtime, (tiny.inputs[:2],))
    (expected,), (got,) = here.outputs, emulate(runtime, "raspberry-pi-5").record.outputs
    step = np.min(np.diff(np.unique(expected)))  # of the output's quantization, or a multiple
    assert np.abs(got - expected).max() <= 1.01 * step


@pytest.mark.parametrize("device", WITH_DOT_PRODUCTS)  # A53, A72, A76
@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.LITERT, Runtime.ONNXRUNTIME])
def test_the_twin_predicts_every_bit_of_what_a_device_answers(
    emulate: Emulate, runtime: Runtime, device: str, tiny: Tiny, tiny_artifacts: Lowered, image: Image
) -> None:
    artifact = tiny_artifacts.artifacts[f"{FILES[runtime][0]}-int8"]
    path, inputs = tiny_artifacts.folder / artifact.path, (tiny.inputs[:2],)
    (predicted,) = twin.outputs(artifact, path, runtime, inputs, twin.Machine.ARM64)
    np.testing.assert_array_equal(emulate(runtime, device).record.outputs[0], predicted)


@pytest.fixture(scope="module")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lowered, Array]:
    """The zoo's ds_cnn in int8 in every format, and two inputs."""
    quantized = edgeds.quantize(edgeds.load_model("ds_cnn"), "random", cache=False)
    folder = tmp_path_factory.mktemp("keywords")
    programs.save(quantized.graph, folder / "graph")
    jobs = [lowering.Job(f, Precision.INT8, folder / "graph", folder / f"{f}-int8") for f in Format]
    made = {artifact.path.name: artifact for artifact in lower(jobs, folder, event=lambda job, what: None)}
    return Lowered(made, (), folder), quantized.source.validation.inputs[0][:2]


@pytest.mark.parametrize("device", WITH_DOT_PRODUCTS)
@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.LITERT, Runtime.ONNXRUNTIME])
def test_the_twin_of_a_zoo_model_predicts_every_bit_as_well(
    keywords: tuple[Lowered, Array], runtime: Runtime, device: str, image: Image
) -> None:
    lowered, x = keywords
    artifact = lowered.artifacts[f"{FILES[runtime][0]}-int8"]
    path = lowered.folder / artifact.path
    found = emulator.run(artifact, path, runtime, (x,), devices.load(device))
    (predicted,) = twin.outputs(artifact, path, runtime, (x,), twin.Machine.ARM64)
    np.testing.assert_array_equal(found.record.outputs[0], predicted)
    assert len(np.unique(predicted)) > 10


@pytest.mark.parametrize("runtime", Runtime)
def test_layers_are_told_apart_and_named_by_the_user_s_modules(
    emulate: Emulate, runtime: Runtime, tiny: Tiny, tiny_artifacts: Lowered, image: Image
) -> None:
    artifact = tiny_artifacts.artifacts[f"{FILES[runtime][0]}-int8"]
    path = tiny_artifacts.folder / artifact.path
    trace = emulate(runtime, PI_4.name).trace
    layers, note = layer_times(
        Job(artifact, path, runtime, PI_4, (tiny.inputs[:2],), "", 60.0), emulator, trace, tiny.graph
    )
    named = [layer.module for layer in layers if layer.module]
    assert note == ""
    modules = ["stem", "depthwise", "pointwise", "reduce", "expand", "head", "classifier"]
    assert [name for name in named if name in modules] == modules
    whole = estimate(trace, PI_4).ms
    assert (
        0.3 * whole < sum(layer.ms for layer in layers) < 1.1 * whole
    )  # what is around operators takes its time in so small a net


@pytest.mark.parametrize("runtime", Runtime)
def test_a_broken_file_is_refused_in_one_line(
    artifact: MakeArtifact,
    runtime: Runtime,
    inputs: tuple[Array, Array],
    image: Image,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    format_, fixture = FILES[runtime]
    whole: Path = request.getfixturevalue(fixture)
    broken = tmp_path / whole.name
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(
        ToolError, match=rf"^{format_}-fp32@{runtime} on raspberry-pi-4 failed with exit code 1: "
    ) as caught:
        emulator.run(artifact(format_), broken, runtime, inputs, PI_4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.ONNXRUNTIME])
def test_inputs_of_another_shape_are_refused_with_both(
    artifact: MakeArtifact, runtime: Runtime, inputs: tuple[Array, Array], image: Image, request: pytest.FixtureRequest
) -> None:
    format_, fixture = FILES[runtime]
    with pytest.raises(ToolError, match=r"\[1, 2, 3, 3\].*takes .*\[1, 2, 3, 4\]"):
        emulator.run(
            artifact(format_), request.getfixturevalue(fixture), runtime, (inputs[0], inputs[1][..., :3]), PI_4
        )


def test_a_run_that_takes_too_long_is_ended(
    artifact: MakeArtifact, onnx_file: Path, inputs: tuple[Array, Array], image: Image
) -> None:
    with pytest.raises(
        ToolError, match=r"^onnx-fp32@onnxruntime on raspberry-pi-4 was ended after its time limit of 0.2 s"
    ):
        emulator.run(artifact(Format.ONNX), onnx_file, Runtime.ONNXRUNTIME, inputs, PI_4, timeout_s=0.2)


def test_a_program_with_a_batch_takes_several_samples_at_once(
    artifact: MakeArtifact, image: Image, pte_file: Path, tmp_path: Path
) -> None:
    path = _batched_pte(tmp_path / "batched.pte")
    x = np.arange(5 * 3, dtype=np.float32).reshape(5, 3)
    made = artifact(Format.EXECUTORCH)
    found = emulator.run(made, path, Runtime.EXECUTORCH, (x,), PI_4)
    np.testing.assert_array_equal(found.record.outputs[0], 2 * x)
    assert made.layout is Layout.NCHW


def _batched_pte(path: Path) -> Path:
    """2 x for two samples at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and executorch warn about themselves
        import torch

        class Twice(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + x

        exported = torch.export.export(Twice().eval(), (torch.zeros(2, 3),))
        lowered = import_module("executorch.exir").to_edge_transform_and_lower(exported)
        path.write_bytes(lowered.to_executorch().buffer)
    return path
