"""The JSON of `edgeds bench`: what each number is stands in its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeds.report.latency import latency_json
from edgeds.results import Benchmark, FloatCost, KernelTime, LatencyReport, LayerTime, Method
from edgeds.spec import DriftReport

UNITS = ("ms", "_db", "_bytes")
# How many there are of something, and parts of 1.
COUNTS = {"schema_version", "threads", "instructions", "dot_products", "matrix_products", "n_regions", "n_inputs"}
SHARES = {"share", "cosine", "top1_agreement"}
# In units of the output, and counts by steps of it.
OF_OUTPUTS = {"max_abs_error", "lsb_histogram"}


def numbers(value: Any, name: str = "") -> Iterator[str]:
    """The names of all numbers, a list's numbers by the name of the list."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, name)
    elif isinstance(value, int | float):
        yield name


def test_every_number_says_its_unit_in_its_name() -> None:
    latency = LatencyReport(
        "onnx-int8@onnxruntime", "0" * 64, "pixel-4", 1, Method.EMULATED, 2.0, 1.0, 3.0, 1.5, 0.5, 9, 8, 7,
        (KernelTime("gemm", "libx.so", 1.0, 0.5),), 4096, 1, (LayerTime("stem", "conv", "Conv", 1.0, 0.5),),
    )  # fmt: skip
    drift = DriftReport("onnx-int8@onnxruntime", "float", 2, 30.0, 0.9, 0.1, 1.0, ((0, 5),), (30.0,))
    cost = FloatCost("onnx-int8@onnxruntime", "pixel-4", 30.0, 20.0, 2.0, 1.0)
    found = set(numbers(latency_json(Benchmark((latency,), {"pixel-4": (drift,)}, (), "0", (cost,)))))
    named = {name for name in found if name.endswith(UNITS)}
    assert named >= {"ms", "low_ms", "high_ms", "core_ms", "memory_ms", "peak_bytes", "sqnr_db", "whole_ms"}
    assert found - named == COUNTS | SHARES | OF_OUTPUTS
