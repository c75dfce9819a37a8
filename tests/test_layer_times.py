"""The times of layers, from slices of an inference that a fake emulator gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeds import devices, layer_times
from edgeds.emulating import Job
from edgeds.latency.estimate import estimate
from edgeds.run.emulator import Profiled, SlicedRun
from edgeds.run.fake import FakeEmulator
from edgeds.spec import Artifact, Format, Layout, Precision, Runtime
from edgeds.trace import Block, Lines, Slice, Trace
from edgeds.twin import Layer
from tests.latency.code import code, fmla

DEVICE = devices.load("raspberry-pi-4")
GEMM = code(*(fmla(k) for k in range(8)))
NOTHING = Trace((), 1)


def part(executions: int, emulator_us: float = 0.0) -> Slice:
    """As many executions of one block."""
    return Slice((Block(0x1000, GEMM, executions, symbol="gemm", library="libx.so"),), emulator_us)


def job(runtime: Runtime, format: Format) -> Job:
    artifact = Artifact(format, Precision.FP32, Path("file"), "0" * 64, 1, Layout.NCHW, (), 0, (), (), ())
    return Job(artifact, Path("file"), runtime, DEVICE, (np.zeros((1, 2), np.float32),), "digest", 1.0)


def run(
    sliced: SlicedRun, runtime: Runtime, format: Format, timed: Trace = NOTHING
) -> tuple[list[tuple[str, str, float]], str]:
    """Name, operator and milliseconds of each layer, and the note."""
    emulator = FakeEmulator({}, NOTHING, sliced=sliced)
    layers, note = layer_times.layer_times(job(runtime, format), emulator, timed, None)
    assert emulator.runs == [f"layers of {format}-fp32@{runtime} on raspberry-pi-4"]
    if layers:
        assert sum(layer.share for layer in layers) == pytest.approx(1)
    return [(layer.name, layer.operator, layer.ms) for layer in layers], note


def milliseconds(executions: int) -> float:
    return estimate(Trace(part(executions).blocks, 1), DEVICE).ms


def test_a_slice_takes_what_the_estimate_of_it_says_and_what_comes_before_the_first_entry_is_none() -> None:
    sliced = SlicedRun((part(5), part(1000), part(3000)))
    layers, note = run(sliced, Runtime.EXECUTORCH, Format.EXECUTORCH)
    assert [(name, operator) for name, operator, _ in layers] == [("1", ""), ("2", "")]
    assert [ms for *_, ms in layers] == pytest.approx([milliseconds(1000), milliseconds(3000)])
    assert note == "without a quantized graph no operator is named by its module"


def test_of_slices_between_readings_of_the_clock_those_are_operators_that_took_the_emulator_as_long() -> None:
    profile = (Profiled("conv", "Conv", 900), Profiled("relu", "Relu", 20), Profiled("gemm", "Gemm", 100))
    took_us = (400, 30, 60, 30, 902, 35, 21, 30, 103, 50, 10)
    slices = tuple(part(n, us) for n, us in zip((40, 1, 60, 1, 9000, 1, 200, 1, 1000, 1, 10), took_us, strict=True))
    layers, _ = run(SlicedRun(slices, profile), Runtime.ONNXRUNTIME, Format.ONNX, Trace(part(20_000).blocks, 1))
    assert [(name, operator) for name, operator, _ in layers] == [("conv", "Conv"), ("relu", "Relu"), ("gemm", "Gemm")]
    assert [ms for *_, ms in layers] == pytest.approx([milliseconds(n) for n in (9000, 200, 1000)])


def test_what_the_profiler_executes_is_left_out_and_what_it_shares_is_divided() -> None:
    malloc = Block(0x2000, code(fmla(0)), 30, Lines(l2_hits=10))
    own = Block(0x3000, code(fmla(1)), 1000)
    kernel = Block(0x1000, GEMM, 500)
    slices = [Slice((kernel, malloc, own)), Slice((replace(malloc, executions=90),))]
    timed = Trace((kernel, replace(malloc, executions=12)), 1)
    first, second = layer_times._as_timed(slices, timed)
    assert first == (kernel, replace(malloc, executions=3, lines=Lines(l2_hits=1)), replace(own, executions=0))
    assert second == (replace(malloc, executions=9, lines=Lines(l2_hits=1)),)


def test_a_runtime_that_shows_no_operators_is_said_to() -> None:
    layers, note = run(SlicedRun(()), Runtime.LITERT, Format.TFLITE)
    assert layers == []
    assert note.startswith("litert does not show where its operators begin")


def layer(name: str, operator: str, *inputs: str) -> Layer:
    return Layer(name, operator, inputs, (name,), lambda *given: given[0])


# SiLU behind a convolution, and a gate: a product with another value's sigmoid
LAYERS = [
    layer("padded", "PAD", "x"),
    layer("conv", "CONV_2D", "padded"),
    layer("sigmoid", "LOGISTIC", "conv"),
    layer("silu", "MUL", "conv", "sigmoid"),
    layer("squeezed", "MEAN", "silu"),
    layer("gate", "LOGISTIC", "squeezed"),
    layer("gated", "MUL", "silu", "gate"),
]
DESCRIBED = [(one.name, one.operator) for one in LAYERS]
JOINED = [
    ("conv", "CONV_2D"),
    ("silu", "LOGISTIC + MUL"),
    ("squeezed", "MEAN"),
    ("gate", "LOGISTIC"),
    ("gated", "MUL"),
]


def test_xnnpack_runs_no_padding_and_a_value_times_its_own_sigmoid_as_one() -> None:
    assert layer_times._joined(LAYERS, DESCRIBED) == JOINED


def test_a_sigmoid_that_is_read_twice_stays_an_operator() -> None:
    twice = [*LAYERS, layer("other", "CONV_2D", "sigmoid")]
    names = [name for name, _ in layer_times._joined(twice, [(one.name, one.operator) for one in twice])]
    assert names == ["conv", "sigmoid", "silu", "squeezed", "gate", "gated", "other"]


def test_operators_are_named_by_the_file_if_as_many_ran_or_as_many_as_xnnpack_makes_of_them() -> None:
    assert layer_times._by_number(7, DESCRIBED, JOINED, "") == (DESCRIBED, "")
    assert layer_times._by_number(5, DESCRIBED, JOINED, "") == (JOINED, "")
    named, why = layer_times._by_number(4, DESCRIBED, JOINED, "")
    assert named == [("", "")] * 4
    assert why.startswith("4 operators ran and the file has 7, for the runtime joins some in a way")


def test_what_a_runtime_adds_of_its_own_has_no_module() -> None:
    profile = tuple(Profiled(operator.lower(), operator, 1) for operator in ("Quantize", "Transpose", "Conv", "Gemm"))
    described = [("", "Quantize"), ("stem", "Conv"), ("head", "Gemm")]
    found = layer_times._by_profile(SlicedRun((), profile), described)
    assert found == [("", "Quantize"), ("", "Transpose"), ("stem", "Conv"), ("head", "Gemm")]
