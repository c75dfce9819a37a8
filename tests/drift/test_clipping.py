"""Inputs that an int8 artifact clips."""

from __future__ import annotations

import numpy as np
import pytest

from edgeds.drift.clipping import clipped

RANGES = {"x": (0.0, 1.0)}


def test_pixels_for_a_model_that_was_calibrated_on_numbers_to_1_are_named_with_both_ranges() -> None:
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    (said,) = clipped({"x": pixels}, RANGES)
    assert said == (
        "99.2 % of the values of input x are clipped: they reach from 0 to 255, and it was calibrated on 0 to 1; "
        "give data that is prepared like the calibration data, or calibrate on data like it"
    )


@pytest.mark.parametrize(("outside", "said"), [(1, 0), (2, 1)])
def test_a_hundredth_may_lie_outside(outside: int, said: int) -> None:
    values = np.full(100, 0.5, np.float32)
    values[:outside] = -3.0
    assert len(list(clipped({"x": values}, RANGES))) == said


def test_half_a_step_outside_is_rounded_and_not_clipped() -> None:
    assert list(clipped({"x": np.full(4, 1.0 + 0.4 / 255, np.float32)}, RANGES)) == []
