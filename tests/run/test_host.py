from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeds.errors import ToolError
from edgeds.run import host
from edgeds.run.fake import FakeRunner
from edgeds.spec import Array, Artifact, Format, Precision, RunRecord, Runtime

MakeArtifact = Callable[..., Artifact]


def test_every_runtime_computes_what_the_model_does_with_inputs_and_outputs_in_order(
    artifact: MakeArtifact, any_artifact: tuple[Format, Path, Runtime], inputs: tuple[Array, Array]
) -> None:
    format_, path, runtime = any_artifact
    record = host.run(artifact(format_), path, runtime, inputs, repeats=2)
    difference, positive = record.outputs
    np.testing.assert_array_equal(difference, inputs[0] - inputs[1])
    np.testing.assert_array_equal(positive, np.maximum(inputs[0], 0))
    assert record.outputs[0].dtype == np.float32
    assert len(record.wall_ms) == 5 * 2
    assert min(record.wall_ms) > 0
    assert record.artifact_sha256 == "5" * 64
    assert record.runtime_version[0].isdigit()


def test_every_runtime_refuses_a_broken_file_in_one_line(
    artifact: MakeArtifact, any_artifact: tuple[Format, Path, Runtime], inputs: tuple[Array, Array], tmp_path: Path
) -> None:
    format_, path, runtime = any_artifact
    broken = tmp_path / path.name
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ToolError) as caught:
        host.run(artifact(format_), broken, runtime, inputs)
    message = str(caught.value)
    assert message.startswith(f"{format_}-fp32@{runtime} failed with exit code 1: ")
    assert message.endswith("agent.py")
    assert "\n" not in message


def test_an_int8_input_is_rounded_half_to_even_and_clipped_and_an_int8_output_dequantized(
    artifact: MakeArtifact, int8_tflite_file: Path
) -> None:
    row = np.array([0.25, 0.75, -0.25, 1e6, -1e6, 3.0, 0.1], np.float32)  # 0.5 and 1.5 steps lie half way
    x = np.broadcast_to(np.stack([row, -row]), (3, 2, 7))
    record = host.run(artifact(Format.TFLITE, Precision.INT8), int8_tflite_file, Runtime.LITERT, (x,))
    expected = np.array([[0.0, 1.0, 0.0, 65.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0, 65.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(record.outputs[0], np.broadcast_to(expected, (3, 2, 7)))


def test_a_python_path_of_the_caller_does_not_reach_the_runtime(
    artifact: MakeArtifact,
    onnx_file: Path,
    inputs: tuple[Array, Array],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert len(host.run(artifact(Format.ONNX), onnx_file, Runtime.ONNXRUNTIME, inputs).outputs) == 2


def test_a_wrong_input_shape_is_refused_with_both_shapes(
    artifact: MakeArtifact, onnx_file: Path, inputs: tuple[Array, Array]
) -> None:
    with pytest.raises(
        ToolError, match=r"input 1 has shape \[1, 2, 2, 4\], the artifact takes \[1, 2, 3, 4\] \(nchw\)"
    ):
        host.run(artifact(Format.ONNX), onnx_file, Runtime.ONNXRUNTIME, (inputs[0], inputs[1][:, :, :2]))


@pytest.mark.parametrize("runtime", [Runtime.EXECUTORCH, Runtime.ONNXRUNTIME, Runtime.LITERT])
def test_check_accepts_what_is_installed(runtime: Runtime) -> None:
    host.check(runtime)


def test_check_names_the_pip_line_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host._MODULES, Runtime.LITERT, "no_such_runtime")
    with pytest.raises(
        ToolError, match="the runtime litert is not installed; install it with: pip install no-such-runtime"
    ):
        host.check(Runtime.LITERT)


def test_check_accepts_tflite_runtime_in_its_own_environment(
    environments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(environments.parent))
    host.check(Runtime.TFLITE_RUNTIME)


def test_the_fake_has_the_shape_of_the_host() -> None:
    fake = FakeRunner({})
    assert inspect.signature(fake.run) == inspect.signature(host.run)
    assert inspect.signature(fake.check) == inspect.signature(host.check)


def test_the_fake_returns_what_was_programmed_for_as_many_samples_as_it_is_given(
    artifact: MakeArtifact, inputs: tuple[Array, Array]
) -> None:
    fake = FakeRunner(
        {"onnx-int8@onnxruntime": (np.arange(20).reshape(10, 2),), "onnx-fp32@onnxruntime": ToolError("broken")}
    )
    record: RunRecord = fake.run(
        artifact(Format.ONNX, Precision.INT8), Path("x"), Runtime.ONNXRUNTIME, (inputs[0][:2],), repeats=3
    )
    np.testing.assert_array_equal(record.outputs[0], [[0, 1], [2, 3]])
    assert len(record.wall_ms) == 6
    with pytest.raises(ToolError, match="broken"):
        fake.run(artifact(Format.ONNX), Path("x"), Runtime.ONNXRUNTIME, inputs)
    with pytest.raises(
        ToolError, match=r"no outputs for 'tflite-fp32@litert'; choose from onnx-int8@onnxruntime, onnx-fp32"
    ):
        fake.run(artifact(Format.TFLITE), Path("x"), Runtime.LITERT, inputs)
    assert fake.runs == ["onnx-int8@onnxruntime", "onnx-fp32@onnxruntime", "tflite-fp32@litert"]


def test_the_fake_misses_what_was_programmed_to_be_missing() -> None:
    fake = FakeRunner({}, missing={Runtime.LITERT: "no litert"})
    fake.check(Runtime.ONNXRUNTIME)
    with pytest.raises(ToolError, match="no litert"):
        fake.check(Runtime.LITERT)
