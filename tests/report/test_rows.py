"""Rows, and how numbers are written."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgeds.report import rows
from edgeds.spec import Compute, DriftLimits, Manifest, OperatorCount, Runtime


def test_every_artifact_in_every_runtime_has_a_row_behind_the_reference_and_int8_comes_first(lite0: Manifest) -> None:
    found = rows.drift_rows(lite0)
    assert found[0].is_reference
    assert [(r.format, r.precision, r.runtime) for r in found[1:]] == [
        (format, precision, runtime)
        for precision in ("int8", "fp32")
        for format, runtime in (
            ("executorch", "executorch"),
            ("onnx", "onnxruntime"),
            ("tflite", "litert"),
            ("tflite", "tflite-runtime"),
        )
    ]


def test_a_row_has_the_numbers_of_its_own_reports(lite0: Manifest) -> None:
    assert rows.drift_rows(lite0)[1] == rows.Row(
        format="executorch",
        precision="int8",
        size="4.95",
        runtime="executorch",
        version="1.5.1",
        delegates="1 delegate",
        outside="0",
        float_operators="0",
        sqnr_float="17.9",
        sqnr_pt2e="37.2",
        top1="92.5",
        max_lsb="3",
    )


def test_float_artifacts_have_sqnr_alone(lite0: Manifest) -> None:
    row = next(r for r in rows.drift_rows(lite0) if (r.precision, r.runtime) == ("fp32", "onnxruntime"))
    assert row.sqnr_float == "126.4"
    assert {row.sqnr_pt2e, row.top1, row.max_lsb, row.float_operators, row.delegates, row.outside} == {rows.NONE}


def test_float_operators_left_in_an_int8_artifact_and_those_outside_of_delegates_are_counted(lite0: Manifest) -> None:
    first = lite0.artifacts[0]
    left = (*first.operators, OperatorCount("Gelu", Compute.FLOAT32, 2))
    changed = replace(first, operators=left, outside=("aten::a", "aten::a", "aten::b"), delegates=2)
    row = rows.drift_rows(replace(lite0, artifacts=(changed,)))[1]
    assert (row.float_operators, row.outside, row.delegates) == ("2", "3", "2 delegates")


def test_an_artifact_that_was_run_nowhere_still_has_a_row(lite0: Manifest) -> None:
    found = rows.drift_rows(replace(lite0, drift=()))
    assert len(found) == len(lite0.artifacts)
    assert {r.runtime for r in found} == {rows.NOT_RUN}


def test_a_runtime_that_was_missing_has_no_row(lite0: Manifest) -> None:
    drift = tuple(r for r in lite0.drift if Runtime.TFLITE_RUNTIME not in r.subject)
    assert "tflite-runtime" not in {r.runtime for r in rows.drift_rows(replace(lite0, drift=drift))}


def test_pairs_say_which_share_is_identical_and_which_within_one_step(lite0: Manifest) -> None:
    pairs = rows.pair_rows(lite0)
    assert len(pairs) == 6
    assert pairs[0] == rows.Pair("onnxruntime int8", "executorch int8", "96.6", "100.0", "1", "52.6")
    assert pairs[-1] == rows.Pair("tflite-runtime int8", "litert int8", "100.0", "100.0", "0", "exact")


def test_a_pair_without_steps_has_no_shares(lite0: Manifest) -> None:
    drift = tuple(replace(r, lsb_histogram=()) for r in lite0.drift)
    pair = rows.pair_rows(replace(lite0, drift=drift))[0]
    assert (pair.identical, pair.within_one, pair.max_lsb) == (rows.NONE,) * 3


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0"), (0.0004, "<0.1"), (0.0006, "0.1"), (0.925, "92.5"), (0.9996, ">99.9"), (1.0, "100.0")],
)
def test_percent_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert rows.percent(share) == text


@pytest.mark.parametrize(("value", "text"), [(math.inf, "exact"), (-math.inf, "-inf"), (17.25, "17.2"), (-3.0, "-3.0")])
def test_decibels_have_one_digit_and_identical_outputs_a_word(value: float, text: str) -> None:
    assert rows.decibels(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.00 MB"), (4_946_080, "4.95 MB")],
)
def test_a_size_has_the_unit_that_fits(size_bytes: int, text: str) -> None:
    assert rows.size(size_bytes) == text


def test_limits_that_nothing_can_exceed_are_not_named(lite0: Manifest) -> None:
    random_weights = DriftLimits(min_int8_sqnr_db=-math.inf, min_int8_top1_agreement=0.0)
    assert rows.limit_texts(random_weights, lite0.drift) == ("int8 runtimes ≤ 3 dB apart", "fp32 SQNR ≥ 100 dB")
    assert rows.limit_texts(DriftLimits(), ()) == ()


def test_limits_that_judged_nothing_are_not_named(lite0: Manifest) -> None:
    feature_map = [replace(report, top1_agreement=None) for report in lite0.drift if "int8" in report.subject]
    assert rows.limit_texts(DriftLimits(), feature_map) == ("int8 SQNR ≥ 10 dB", "int8 runtimes ≤ 3 dB apart")
    alone = [report for report in feature_map if report.subject == "onnx-int8@onnxruntime"]
    assert rows.limit_texts(DriftLimits(), alone) == ("int8 SQNR ≥ 10 dB",)
