"""Inputs that lie outside of what the model was calibrated on: an int8 artifact clips them, and drift on them blames the artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgeds.spec import Array

# Calibration itself may leave out some outliers.
MOST_CLIPPED = 0.01

Range = tuple[float, float]


def clipped(inputs: Mapping[str, Array], ranges: Mapping[str, Range]) -> Iterator[str]:
    """A sentence for each input, [N, ...], of whose elements more than MOST_CLIPPED lie outside of its quantization's range."""
    for name, (low, high) in ranges.items():
        values = inputs[name]
        half_a_step = (high - low) / 255 / 2
        share = float(np.mean((values < low - half_a_step) | (values > high + half_a_step)))
        if share > MOST_CLIPPED:
            yield (
                f"{100 * share:.1f} % of the values of input {name} are clipped: they reach from {values.min():.3g} to {values.max():.3g}, "
                f"and it was calibrated on {low:.3g} to {high:.3g}; give data that is prepared like the calibration data, or calibrate on "
                "data like it"
            )
