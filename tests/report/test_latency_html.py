"""The section of report.html on latencies."""

from __future__ import annotations

from edgeds import devices
from edgeds.report.html import bundle_html
from edgeds.report.latency_html import latencies
from edgeds.results import Benchmark, KernelTime, LatencyReport, LayerTime, Method
from edgeds.spec import Manifest
from tests.report.test_html import ATTACK, Page, read

PI_4 = devices.load("raspberry-pi-4")


def report(subject: str, ms: float, threads: int = 1, **more: object) -> LatencyReport:
    method = Method.EMULATED if threads == 1 else Method.PROJECTED
    kernels = (KernelTime(ATTACK, "libx.so", ms / 2, 0.5), KernelTime("", "", ms / 4, 0.25))
    interval = (ms * 0.5, ms * 1.5)
    numbers = (ms * 0.75, ms * 0.25, 1000, 10, 0, kernels, 4096, 1)
    return LatencyReport(subject, "0" * 64, PI_4.name, threads, method, ms, *interval, *numbers, **more)  # type: ignore[arg-type]  # fields


LAYERS = (LayerTime("features.0", "conv", "QLinearConv", 6.0, 0.75), LayerTime("", "node_mean", "Mean", 2.0, 0.25))
FOUND = Benchmark(
    (
        report("onnx-int8@onnxruntime", 8.0, layers=LAYERS),
        report("onnx-fp32@onnxruntime", 20.0, layers_note="nothing is known of it"),
        report("onnx-int8@onnxruntime", 4.0, threads=4),
    ),
    {PI_4.name: ()},
    ("raspberry-pi-4: onnx-int8@onnxruntime: SQNR 1.0 dB",),
    "a" * 64,
)


def page(manifest: Manifest) -> Page:
    return read(bundle_html(manifest, (), latencies(FOUND, {PI_4.name: PI_4})))


def test_each_latency_has_its_interval_its_method_and_its_parts(lite0: Manifest) -> None:
    text = page(lite0).text
    assert "Raspberry Pi 4 Model B, 1.8 GHz" in text and "Arm Cortex-A72, 1.8 GHz" in text
    assert "onnxruntime int8 1 8.00 4.00..12.0 emulated 6.00 2.00 2.50×" in text
    assert "onnxruntime int8 fastest 4 4.00 2.00..6.00 projected" in text
    assert "emulated: from the instructions and cache lines" in text and "image aaaaaaaaaaaa" in text
    assert "Limit exceeded: raspberry-pi-4: onnx-int8@onnxruntime: SQNR 1.0 dB" in text


def test_functions_and_layers_stand_below_and_are_escaped(lite0: Manifest) -> None:
    found = page(lite0)
    assert [script for script in found.named("script")] == []
    assert f"50.0 4.00 {ATTACK} libx.so" in found.text
    assert "outside of libraries" in found.text
    assert "onnxruntime int8: 2 operators in their order, together 8.00 ms, the run that is timed 8.00 ms" in found.text
    assert "75.0 6.000 features.0 QLinearConv 25.0 2.000 node_mean Mean" in found.text
    assert "onnxruntime fp32: no times of layers: nothing is known of it" in found.text


def test_headers_have_scopes_and_without_latencies_there_is_no_section(lite0: Manifest) -> None:
    assert all(header.get("scope") for header in page(lite0).named("th"))
    assert "How long an inference takes" not in read(bundle_html(lite0)).text
