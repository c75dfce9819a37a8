from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeds import crosscheck
from edgeds.crosscheck import require_right, suspects
from edgeds.errors import LimitError
from edgeds.export.taps import tapped
from edgeds.progress import Silent
from edgeds.spec import Artifact, DriftLimits, DriftReport, Format, Layout, Precision, Program
from tests.test_layers import with_quiet_channel

LIMITS = DriftLimits()


def report(subject: str, sqnr_db: float) -> DriftReport:
    return DriftReport(subject, "float", 4, sqnr_db, 1.0, 0.0, None)


def artifact(format: Format, precision: Precision = Precision.INT8) -> Artifact:
    return Artifact(format, precision, Path("file"), "0" * 64, 1, Layout.NCHW, (), 0, (), (), ())


def named(drift: list[DriftReport], *artifacts: Artifact) -> list[tuple[str, str]]:
    return [(f"{found.name}@{runtime}", apart) for found, runtime, apart in suspects(artifacts, drift, LIMITS)]


def test_an_artifact_that_is_worse_than_the_pt2e_graph_is_suspect() -> None:
    drift = [report("pt2e", 20.0), report("onnx-int8@onnxruntime", 18.9)]
    assert named(drift, artifact(Format.ONNX)) == [
        ("onnx-int8@onnxruntime", "18.9 dB against float where 20.0 dB are possible")
    ]
    assert named([report("pt2e", 20.0), report("onnx-int8@onnxruntime", 19.0)], artifact(Format.ONNX)) == []


def test_an_artifact_that_is_worse_than_another_runtime_is_suspect() -> None:
    drift = [report("pt2e", 20.0), report("tflite-int8@litert", 22.0), report("tflite-int8@tflite-runtime", 20.5)]
    assert [subject for subject, _ in named(drift, artifact(Format.TFLITE))] == ["tflite-int8@tflite-runtime"]


def test_a_float_artifact_is_suspect_where_rounding_cannot_be_the_reason() -> None:
    onnx = artifact(Format.ONNX, Precision.FP32)
    assert named([report("onnx-fp32@onnxruntime", 94.0)], onnx) == []
    assert named([report("onnx-fp32@onnxruntime", 59.0)], onnx) == [
        ("onnx-fp32@onnxruntime", "59.0 dB against float, where rounding leaves over 60 dB")
    ]


def test_without_doubt_nothing_is_lowered(monkeypatch: pytest.MonkeyPatch, samples_of: Any, tiny: Any) -> None:
    monkeypatch.setattr(crosscheck, "lowering", None)
    drift = [report("pt2e", 20.0), report("onnx-int8@onnxruntime", 20.1)]
    found = require_right([artifact(Format.ONNX)], drift, {}, samples_of(tiny.inputs), LIMITS, Silent())
    assert found == ()


CASES = [
    (format, precision, f"{format}-{precision}@{runtime}")
    for format, runtime in ((Format.EXECUTORCH, "executorch"), (Format.ONNX, "onnxruntime"), (Format.TFLITE, "litert"))
    for precision in (Precision.INT8, Precision.FP32)
    if precision is Precision.INT8 or format is Format.ONNX  # the quickest to lower
]


@pytest.mark.parametrize(("format", "precision", "subject"), CASES)
def test_a_right_artifact_is_let_through_with_a_warning_and_a_wrong_one_is_traced_to_its_layer(
    monkeypatch: pytest.MonkeyPatch, tiny: Any, samples_of: Any, format: Format, precision: Precision, subject: str
) -> None:
    program = tiny.graph if precision is Precision.INT8 else tiny.float_export
    drift = [report("pt2e", 20.0), report(subject, 8.0)]
    samples = samples_of(tiny.inputs[:2])

    def check() -> tuple[str, ...]:
        return require_right([artifact(format, precision)], drift, {precision: program}, samples, LIMITS, Silent())

    (warning,) = check()
    assert warning.startswith(f"{subject}: 8.0 dB against float") and "layers is right up to rounding" in warning

    def faulty(right: Program) -> Program:  # as if the converter had made one channel too quiet
        return tapped(with_quiet_channel(right, "pointwise"))

    monkeypatch.setattr(crosscheck, "tapped", faulty)
    with pytest.raises(
        LimitError, match=rf"{subject} is wrong .*: from its own input .* of pointwise is off by up to \d+"
    ):
        check()
