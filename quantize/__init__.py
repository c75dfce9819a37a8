"""A float program and calibration data in, the one PT2E graph out. Called, it is `edgeds.pipeline.quantize`."""

from __future__ import annotations

from edgeds.callable_package import make_callable

make_callable(__name__)
