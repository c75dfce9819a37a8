"""What holds for the artifacts of every format."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Compute, Format, Precision

INT8 = [f"{f}-int8" for f in Format]
FP32 = [f"{f}-fp32" for f in Format]

Outputs = Callable[[str], Array]


@pytest.fixture(scope="module")
def outputs(tiny: Any, tiny_artifacts: Any) -> Outputs:
    """What an artifact computes in its own runtime for inputs that calibration never saw; each runs once."""
    known: dict[str, Array] = {}

    def run(name: str) -> Array:
        if name not in known:
            artifact = tiny_artifacts.artifacts[name]
            runtime = RUNTIMES_OF[artifact.format][0]
            known[name] = host.run(artifact, artifact.path, runtime, (tiny.inputs,)).outputs[0]
        return known[name]

    return run


def sqnr_db(reference: Array, other: Array) -> float:
    noise = float(np.square(reference.astype(np.float64) - other).sum())
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / noise)) if noise else np.inf


def step(tiny: Any) -> float:
    from edgeds.quantize.parameters import output_scales

    (scale,) = output_scales(tiny.graph)
    return scale


@pytest.mark.parametrize("name", FP32)
def test_a_float_artifact_computes_what_pytorch_does(
    tiny: Any, outputs: Outputs, evaluate: Callable[..., Any], name: str
) -> None:
    assert sqnr_db(evaluate(tiny.float_program, tiny.inputs)[0], outputs(name)) >= 100


@pytest.mark.parametrize("name", INT8)
def test_an_int8_artifact_is_within_two_steps_of_the_pt2e_graph(
    tiny: Any, outputs: Outputs, evaluate: Callable[..., Any], name: str
) -> None:
    expected = evaluate(tiny.graph, tiny.inputs)[0]
    assert float(np.abs(outputs(name) - expected).max()) <= 2.01 * step(tiny)
    assert expected.std() > 10 * step(tiny)  # else the claim would be empty


def test_the_three_runtimes_agree_within_two_steps(tiny: Any, outputs: Outputs) -> None:
    """ExecuTorch looks hardswish up in a table, where the others round its gate first: one step more."""
    executorch, onnx, tflite = (outputs(name) for name in INT8)
    assert float(np.abs(onnx - tflite).max()) <= 1.01 * step(tiny)
    for other in (onnx, tflite):
        assert float(np.abs(executorch - other).max()) <= 2.01 * step(tiny)


@pytest.mark.parametrize("name", INT8)
def test_nothing_is_computed_in_float(tiny_artifacts: Any, name: str) -> None:
    artifact = tiny_artifacts.artifacts[name]
    assert [o.name for o in artifact.operators if o.compute not in (Compute.INT8, Compute.CONVERT)] == []
    assert artifact.notes == ()
    assert artifact.outside == ()


def test_the_operators_read_from_the_files_are_the_models(tiny_artifacts: Any) -> None:
    """6 convolutions of the model, and a seventh that hardswish becomes but for ExecuTorch; the squeeze-and-excite's hardsigmoid costs none."""
    counts = {
        name: Counter({o.name: o.count for o in tiny_artifacts.artifacts[name].operators if o.compute is Compute.INT8})
        for name in INT8
    }
    pte, onnx, tflite = (counts[name] for name in INT8)
    assert (pte["Conv2d"] + pte["DepthwiseConv2d"], pte["Hardswish"], pte["Add"], pte["Multiply"]) == (6, 1, 1, 1)
    assert (pte["FullyConnected"], pte["GlobalAvgPooling2d"], pte["StaticConstantPad"]) == (1, 2, 1)
    assert (onnx["QLinearConv"], onnx["QLinearAdd"], onnx["QLinearMul"], onnx["QGemm"]) == (7, 1, 2, 1)
    assert (tflite["CONV_2D"] + tflite["DEPTHWISE_CONV_2D"], tflite["ADD"], tflite["MUL"]) == (7, 1, 2)
    assert (onnx["QLinearGlobalAveragePool"], tflite["MEAN"], tflite["FULLY_CONNECTED"]) == (2, 2, 1)


@pytest.mark.parametrize("name", INT8 + FP32)
def test_the_record_describes_the_file(tiny_artifacts: Any, name: str) -> None:
    artifact = tiny_artifacts.artifacts[name]
    content = artifact.path.read_bytes()
    assert artifact.name == name
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.size_bytes == len(content)
    assert artifact.precision is (Precision.INT8 if name in INT8 else Precision.FP32)
    assert any(line.startswith("torch 2.13") for line in artifact.toolchain)


@pytest.mark.parametrize("name", INT8 + FP32)
def test_no_place_of_this_machine_is_inside(tiny_artifacts: Any, name: str) -> None:
    content = tiny_artifacts.artifacts[name].path.read_bytes()
    for secret in (
        str(tiny_artifacts.folder),
        str(Path(__file__).parent.parent),
        "site-packages",
        "conftest.py",
        "Traceback",
    ):
        assert secret.encode() not in content


def test_another_process_writes_the_same_bytes(tiny: Any, tiny_artifacts: Any, tmp_path: Path) -> None:
    from edgeds.export.lower import lower
    from edgeds.export.worker import Job

    jobs = [Job(f, Precision.INT8, tiny_artifacts.folder / "int8", tmp_path / f"{f}-int8") for f in Format]
    again = lower(jobs, tmp_path)
    assert {a.name: a.sha256 for a in again} == {name: tiny_artifacts.artifacts[name].sha256 for name in INT8}


def test_every_job_is_started_and_done_once_and_leaves_a_log_and_nothing_else(tiny_artifacts: Any) -> None:
    names = [*tiny_artifacts.artifacts]
    assert Counter(tiny_artifacts.events) == Counter((name, what) for name in names for what in ("start", "done"))
    programs = {f"{stem}.{suffix}" for stem in ("int8", "fp32") for suffix in ("json", "safetensors")}
    logs = {f"{name}.log" for name in names}
    assert {path.name for path in tiny_artifacts.folder.iterdir()} == {*names, *programs, *logs}


def test_an_artifact_record_survives_json(tiny_artifacts: Any) -> None:
    from pydantic import TypeAdapter

    from edgeds.spec import Artifact

    for artifact in tiny_artifacts.artifacts.values():
        text = json.dumps(TypeAdapter(Artifact).dump_python(artifact, mode="json"))
        assert TypeAdapter(Artifact).validate_json(text) == artifact
