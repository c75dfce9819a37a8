"""Which form of a function each runtime gets, and the measurements that decided.

There is one calibration and one quantized graph; where a runtime has a faster way to compute the same function between the same int8
tensors, its exporter takes it. What follows is the evidence, and nothing reads it at run time but the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeds.spec import Runtime


@dataclass(frozen=True, slots=True)
class Measurement:
    """The microseconds of one operator on an int8 [1, 64, 56, 56], one thread, in the chosen form and in others of the same run."""

    function: str
    runtime: Runtime
    chosen: str
    chosen_us: float
    others: tuple[tuple[str, float], ...]
    done_by: str  # the rewrite that makes the chosen form


# Measured 2026-11 on 2 cores of an x86_64 server with the pinned versions; compare within a row, not between rows. hardswish: a fourth of
# what four depthwise layers take with it, less what they take with ReLU; the others: one operator alone, median of 15 (ORT) or 20 runs.
MEASUREMENTS = (
    Measurement(
        "hardswish",
        Runtime.EXECUTORCH,
        "hardswish by table",
        35,
        (("x · clamp(1x1 depthwise(x))", 108),),
        "xnnpack_forms.own_hardswish",
    ),
    Measurement(
        "hardswish",
        Runtime.ONNXRUNTIME,
        "x · clamp(1x1 depthwise(x))",
        188,
        (("float HardSwish", 233),),
        "canonical.hardswish",
    ),
    Measurement(
        "hardswish",
        Runtime.LITERT,
        "x · clamp(1x1 depthwise(x))",
        105,
        (("HARD_SWISH, not delegated", 4820),),
        "canonical.hardswish",
    ),
    Measurement(
        "silu", Runtime.ONNXRUNTIME, "x · sigmoid(x) by table", 225, (("float Sigmoid, Mul", 374),), "canonical.silu"
    ),
    Measurement(
        "tanh",
        Runtime.ONNXRUNTIME,
        "2 · sigmoid(2x) - 1 by table",
        145,
        (("float Tanh", 241),),
        "onnx_forms.tanh_as_sigmoid",
    ),
    Measurement(
        "relu alone",
        Runtime.ONNXRUNTIME,
        "Clip of integers",
        32,
        (("dequantize, quantize", 152),),
        "onnx_forms.integer_clip",
    ),
    Measurement(
        "relu alone",
        Runtime.LITERT,
        "MAXIMUM with an int8 0",
        11,
        (("RELU, not delegated", 1940),),
        "litert_forms.lone_clamp",
    ),
    # GELU stays in float: a sum of two sigmoids is an approximation and no faster; a table by Gather is slower.
    Measurement(
        "gelu",
        Runtime.ONNXRUNTIME,
        "float Gelu",
        453,
        (("sum of two sigmoids by table, approximate", 417), ("Gather from a table", 2048)),
        "nothing",
    ),
)
