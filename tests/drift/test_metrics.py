from __future__ import annotations

import math

import numpy as np
import pytest

from edgeds.drift.metrics import compare, cosine, lsb_histogram, max_abs_error, sqnr_db, top1_agreement
from edgeds.errors import DataError, EdgedsError, LimitError, ModelError, ToolError
from edgeds.spec import Array


def of(*values: float) -> Array:
    return np.array([values], np.float32)


def test_sqnr_of_a_tenth_is_20_db() -> None:
    assert sqnr_db(of(3, 4), of(3.5, 4)) == pytest.approx(20.0)  # 25 over 0.25


def test_sqnr_of_identical_outputs_is_infinite_even_if_they_are_zero() -> None:
    assert sqnr_db(of(3, 4), of(3, 4)) == math.inf
    assert sqnr_db(of(0, 0), of(0, 0)) == math.inf


def test_sqnr_against_silence_is_minus_infinity() -> None:
    assert sqnr_db(of(0, 0), of(0, 1e-6)) == -math.inf


def test_sums_are_taken_in_float64() -> None:
    reference = np.full((1, 2), 3e38, np.float32)  # its square is no float32
    assert sqnr_db(reference, reference / 2) == pytest.approx(20 * math.log10(2))
    noise = np.full((1, 2), 1e-30, np.float32)  # its square neither
    assert sqnr_db(of(1, 1), of(1, 1) + noise) == math.inf  # float32 cannot hold the sum
    assert sqnr_db(noise, 0 * noise) == 0.0


@pytest.mark.parametrize(
    ("reference", "other", "expected"),
    [
        (of(1, 0), of(0, 2), 0.0),
        (of(1, 1), of(1, 0), math.sqrt(0.5)),
        (of(1, 2), of(-2, -4), -1.0),
        (of(0, 0), of(0, 0), 1.0),
        (of(0, 0), of(0, 1), 0.0),
        (of(1, 2), of(0, 0), 0.0),
        (of(0.1, 0.7, 0.3), of(0.1, 0.7, 0.3), 1.0),
    ],
)
def test_cosine_is_that_of_the_angle(reference: Array, other: Array, expected: float) -> None:
    assert cosine(reference, other) == pytest.approx(expected, abs=1e-12)
    assert -1.0 <= cosine(reference, other) <= 1.0


def test_max_abs_error_is_the_largest_difference_of_either_sign() -> None:
    assert max_abs_error(of(1, 2, 3), of(1.5, -1, 3)) == 3.0


def test_a_nan_stays_visible_in_each_metric() -> None:
    for metric in (sqnr_db, cosine, max_abs_error):
        assert math.isnan(metric(of(1, 2), of(1, math.nan)))


def test_outputs_of_different_shapes_have_no_metric() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\) with one of shape \(2, 1\)"):
        sqnr_db(np.ones((1, 2)), np.ones((2, 1)))


def test_top1_agreement_is_the_share_of_inputs_with_the_same_answer() -> None:
    reference = np.array([[1, 2, 3], [3, 2, 1], [1, 3, 2], [5, 4, 0]], np.float32)
    other = np.array([[1, 2, 3], [2, 3, 1], [1, 3, 2], [5, 4, 9]], np.float32)
    assert top1_agreement(reference, other) == 0.5
    assert top1_agreement(reference.reshape(4, 3, 1, 1), other.reshape(4, 3, 1, 1)) == 0.5


def test_of_equal_scores_the_first_is_the_answer() -> None:
    assert top1_agreement(of(1, 5, 5), of(1, 5, 4)) == 1.0
    assert top1_agreement(of(1, 5, 5), of(1, 4, 5)) == 0.0


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2, 2), (4, 3, 1), (4, 3, 1, 2), (0, 3)])
def test_top1_agreement_is_none_where_there_is_no_vector_of_scores(shape: tuple[int, ...]) -> None:
    assert top1_agreement(np.ones(shape), np.ones(shape)) is None


def test_lsb_histogram_counts_elements_by_rounded_steps() -> None:
    reference, other = of(0, 0, 0, 0, 0), of(0, 0.2, -0.5, 1.1, 0.24)
    assert lsb_histogram(reference, other, 0.5) == ((0, 3), (1, 1), (2, 1))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_lsb_histogram_refuses_a_step_that_is_none(scale: float) -> None:
    with pytest.raises(ValueError, match="is not positive and finite"):
        lsb_histogram(of(1), of(2), scale)


def test_compare_takes_the_worst_outputs_numbers_and_agreement_from_the_first() -> None:
    reference = (np.array([[3, 4], [0, 1]], np.float32), np.full((2, 1, 2, 2), 0.5, np.float32))
    outputs = (np.array([[4, 3], [0, 1]], np.float32), np.full((2, 1, 2, 2), 0.25, np.float32))
    report = compare("tflite-int8@litert", "float", outputs, reference, (1.0, 0.25))
    assert (report.subject, report.reference, report.n_inputs) == ("tflite-int8@litert", "float", 2)
    assert report.output_sqnr_db == pytest.approx((10 * math.log10(26 / 2), 10 * math.log10(2 / 0.5)))
    assert report.sqnr_db == min(report.output_sqnr_db)
    assert report.cosine == pytest.approx(25 / 26)
    assert report.max_abs_error == 1.0
    assert report.top1_agreement == 0.5
    assert report.lsb_histogram == ((0, 2), (1, 10))
    assert report.max_lsb == 1


def test_an_output_that_is_not_quantized_has_no_steps_to_count() -> None:
    report = compare("onnx-int8@x", "float", (of(1, 2), of(7, 7, 7)), (of(1, 1), of(6, 7, 7)), (0.5, 0.0))
    assert report.lsb_histogram == ((0, 1), (2, 1))


def test_compare_of_a_float_artifact_has_no_histogram() -> None:
    report = compare("onnx-fp32@onnxruntime", "float", (of(1, 2),), (of(1, 2),), None)
    assert (report.lsb_histogram, report.max_lsb, report.sqnr_db, report.cosine) == ((), None, math.inf, 1.0)
    assert report.output_sqnr_db == ()  # of a single output, sqnr_db says it


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_or_infinity_is_an_error_that_names_who_computes_it(bad: float) -> None:
    with pytest.raises(LimitError, match=r"^onnx-int8@onnxruntime computes NaN or infinity in 1 of 2 output elements"):
        compare("onnx-int8@onnxruntime", "float", (of(1, bad),), (of(1, 2),), None)
    with pytest.raises(ModelError, match=r"^float computes NaN or infinity in 1 of 2 output elements"):
        compare("onnx-int8@onnxruntime", "float", (of(1, 2),), (of(1, bad),), None)


@pytest.mark.parametrize(
    ("outputs", "reference", "error", "text"),
    [
        ((of(1, 2),), (of(1, 2, 3),), ToolError, r"outputs of shapes \[\[1, 2\]\] but float has \[\[1, 3\]\]"),
        ((of(1, 2),), (of(1, 2), of(1)), ToolError, r"but float has \[\[1, 2\], \[1, 1\]\]"),
        ((), (), DataError, "give at least one input"),
        ((np.ones((0, 3)),), (np.ones((0, 3)),), DataError, "give at least one input"),
    ],
)
def test_compare_refuses_what_cannot_be_compared(
    outputs: tuple[Array, ...], reference: tuple[Array, ...], error: type[EdgedsError], text: str
) -> None:
    with pytest.raises(error, match=text):
        compare("tflite-int8@litert", "float", outputs, reference, None)


def test_compare_needs_a_step_for_each_output() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare("tflite-int8@litert", "float", (of(1), of(2)), (of(1), of(2)), (0.5,))
