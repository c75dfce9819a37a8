from __future__ import annotations

import math

import pytest

from edgeds.drift.limits import judge, precision_of
from edgeds.errors import InputError
from edgeds.spec import DriftLimits, DriftReport, Precision

LIMITS = DriftLimits()
BOTH = tuple(Precision)


def report(subject: str, sqnr_db: float, top1_agreement: float | None = 1.0, reference: str = "float") -> DriftReport:
    return DriftReport(subject, reference, 64, sqnr_db, 1.0, 0.0, top1_agreement)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_int8_sqnr_db": math.nan},
        {"min_fp32_sqnr_db": math.nan},
        {"min_int8_top1_agreement": 1.5},
        {"min_int8_top1_agreement": math.nan},
        {"max_runtime_spread_db": -1.0},
        {"max_runtime_spread_db": math.nan},
    ],
)
def test_a_limit_that_judges_nothing_or_everything_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))} .* is no"):
        DriftLimits(**wrong)


def test_a_good_run_exceeds_nothing() -> None:
    reports = [
        report("onnx-int8@onnxruntime", 31.2),
        report("tflite-int8@litert", 31.0),
        report("onnx-fp32@onnxruntime", 123.0),
    ]
    assert judge(reports, BOTH, LIMITS) == ()


def test_a_low_int8_sqnr_is_named_with_number_and_limit() -> None:
    assert judge([report("onnx-int8@onnxruntime", 5.1)], BOTH, LIMITS) == (
        "onnx-int8@onnxruntime: SQNR 5.1 dB against float is under the limit of 10.0 dB",
    )


def test_a_low_agreement_is_named_with_number_and_limit() -> None:
    assert judge([report("tflite-int8@litert", 20, 0.625)], BOTH, LIMITS) == (
        "tflite-int8@litert: top-1 agreement 62.5 % with float is under the limit of 75.0 %",
    )


def test_an_output_without_scores_is_not_judged_by_agreement() -> None:
    assert judge([report("tflite-int8@litert", 20, None)], BOTH, LIMITS) == ()


def test_an_fp32_artifact_is_judged_by_its_own_sqnr_limit_alone() -> None:
    assert judge([report("onnx-fp32@onnxruntime", 99, 0.0)], BOTH, LIMITS) == (
        "onnx-fp32@onnxruntime: SQNR 99.0 dB against float is under the limit of 100.0 dB",
    )


def test_runtimes_that_lie_apart_are_named_with_their_distance() -> None:
    reports = [
        report("onnx-int8@onnxruntime", 31.25),
        report("tflite-int8@litert", 30.5),
        report("tflite-int8@tflite-runtime", 29.0),
        report("onnx-fp32@onnxruntime", 123.0),  # not of the spread
    ]
    assert judge(reports, BOTH, LIMITS) == ()
    (sentence,) = judge(reports, BOTH, DriftLimits(max_runtime_spread_db=1.0))
    assert sentence == (
        "int8 runtimes: SQNR against float lies 2.2 dB apart "
        "(onnx-int8@onnxruntime 31.2 dB, tflite-int8@tflite-runtime 29.0 dB), over the limit of 1.0 dB"
    )


def test_a_number_equal_to_its_limit_passes() -> None:
    reports = [report("a-int8@x", 10.0, 0.75), report("b-int8@x", 11.0, 0.75), report("b-fp32@x", 100.0)]
    assert judge(reports, BOTH, LIMITS) == ()


def test_a_number_that_rounds_to_its_limit_is_shown_with_more_digits() -> None:
    assert judge([report("a-int8@x", 9.996)], BOTH, LIMITS) == (
        "a-int8@x: SQNR 9.996 dB against float is under the limit of 10.000 dB",
    )


def test_nan_never_passes() -> None:
    assert "SQNR nan dB" in judge([report("a-int8@x", math.nan)], BOTH, LIMITS)[0]
    assert "SQNR nan dB" in judge([report("a-fp32@x", math.nan)], BOTH, LIMITS)[0]


@pytest.mark.parametrize(("first", "second", "sentences"), [(math.inf, math.inf, 0), (math.inf, 30.0, 1)])
def test_identical_outputs_lie_nowhere_apart(first: float, second: float, sentences: int) -> None:
    assert len(judge([report("a-int8@x", first), report("b-int8@x", second)], BOTH, LIMITS)) == sentences


def test_only_comparisons_with_float_and_only_artifacts_are_judged() -> None:
    reports = [report("a-int8@x", 1.0, 0.0, "pt2e"), report("a-int8@x", 1.0, 0.0, "b-int8@x"), report("pt2e", 1.0, 0.0)]
    assert judge(reports, BOTH, LIMITS) == ()


def test_only_the_given_precisions_are_judged() -> None:
    reports = [report("a-int8@x", 1.0), report("a-fp32@x", 1.0)]
    assert [s.split(":")[0] for s in judge(reports, [Precision.FP32], LIMITS)] == ["a-fp32@x"]


def test_an_artifact_without_a_precision_in_its_name_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'onnx@onnxruntime' does not say its precision"):
        precision_of("onnx@onnxruntime")
