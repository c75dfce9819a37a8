from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeds import crosscheck
from edgeds.crosscheck import Watch, require_right, suspects
from edgeds.errors import LimitError
from edgeds.export.taps import tapped
from edgeds.progress import Silent
from edgeds.spec import Artifact, DriftLimits, DriftReport, Format, LayerError, Layout, Precision, Program
from tests.test_layers import with_quiet_channel

LIMITS = DriftLimits()


def report(subject: str, sqnr_db: float, reference: str = "float", max_lsb: int | None = None) -> DriftReport:
    steps = () if max_lsb is None else ((0, 3), (max_lsb, 1))
    return DriftReport(subject, reference, 4, sqnr_db, 1.0, 0.0, None, steps)


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


def test_what_answers_as_the_pt2e_graph_does_is_no_suspect() -> None:
    onnx, other = "onnx-int8@onnxruntime", report("tflite-int8@litert", 61.2)
    near = [report("pt2e", 59.3), report(onnx, 59.3), other]
    assert named([*near, report(onnx, 76.6, "pt2e")], artifact(Format.ONNX)) == []
    assert named([*near, report(onnx, 48.0, "pt2e", max_lsb=1)], artifact(Format.ONNX)) == []
    assert len(named([*near, report(onnx, 48.0, "pt2e", max_lsb=2)], artifact(Format.ONNX))) == 1


def test_an_artifact_far_from_a_graph_that_another_one_equals_is_suspect_though_float_is_as_far() -> None:
    drift = [report("pt2e", 10.0), report("tflite-int8@litert", 9.5), report("tflite-int8@litert", 12.0, "pt2e")]
    exact = report("onnx-int8@onnxruntime", float("inf"), "pt2e")
    assert named(drift, artifact(Format.TFLITE)) == []
    assert named([*drift, exact], artifact(Format.TFLITE)) == [
        ("tflite-int8@litert", "12.0 dB against the PT2E graph, which another runtime equals")
    ]
    other_version = report("tflite-int8@tflite-runtime", float("inf"), "pt2e")
    assert named([*drift, other_version], artifact(Format.TFLITE)) == []


RIGHT = LayerError("add", "aten.add.Tensor", "", 1.0, 0.0, True, "net.py:3")


@pytest.mark.parametrize(
    ("watched_db", "others_db", "reason"),
    [
        (45.0, 30.0, "that one has another answer: 45.0 dB against PyTorch instead of 8.1 dB"),
        (9.0, float("inf"), "single steps do not add up to a tenth"),
        (9.0, 30.0, None),
    ],
    ids=["the fault goes away where it is watched", "another runtime is exact", "deep rounding"],
)
def test_right_layers_excuse_only_what_they_explain(
    monkeypatch: pytest.MonkeyPatch, tiny: Any, samples_of: Any, watched_db: float, others_db: float, reason: str | None
) -> None:
    monkeypatch.setattr(crosscheck, "_watched", lambda *_: Watch((RIGHT,), watched_db))
    subject = "tflite-int8@litert"
    drift = [report("pt2e", 40.1), report(subject, 8.0), report(subject, 8.1, "pt2e", max_lsb=56)]
    drift.append(report("onnx-int8@onnxruntime", others_db, "pt2e"))
    given = ([artifact(Format.TFLITE)], drift, {Precision.INT8: tiny.graph}, samples_of(tiny.inputs), LIMITS, Silent())
    if reason is None:
        assert "single steps that add up" in require_right(*given)[0]
        return
    with pytest.raises(LimitError, match=r"is wrong .* and no layer can be named") as caught:
        require_right(*given)
    assert reason in str(caught.value)


def test_a_wrong_layer_without_a_module_is_told_by_its_source_line(
    monkeypatch: pytest.MonkeyPatch, tiny: Any, samples_of: Any
) -> None:
    wrong = LayerError("out", "aten.softmax.int", "", 40.0, 0.5, False, "net.py:9")
    monkeypatch.setattr(crosscheck, "_watched", lambda *_: Watch((RIGHT, wrong), 8.0))
    drift = [report("pt2e", 40.1), report("tflite-int8@litert", 8.0)]
    with pytest.raises(LimitError, match=r"aten\.softmax\.int at net\.py:9 is off by up to 40 thousandths"):
        require_right(
            [artifact(Format.TFLITE)], drift, {Precision.INT8: tiny.graph}, samples_of(tiny.inputs), LIMITS, Silent()
        )


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

    if precision is Precision.INT8:
        (warning,) = check()
        assert warning.startswith(f"{subject}: 8.0 dB against float") and "layers is right up to rounding" in warning
    else:  # no float artifact of right layers is at 8 dB
        with pytest.raises(LimitError, match="no layer can be named"):
            check()

    def faulty(right: Program) -> Program:  # as if the converter had made one channel too quiet
        return tapped(with_quiet_channel(right, "pointwise"))

    monkeypatch.setattr(crosscheck, "tapped", faulty)
    with pytest.raises(
        LimitError, match=rf"{subject} is wrong .*: from its own input .* of pointwise is off by up to \d+"
    ):
        check()
