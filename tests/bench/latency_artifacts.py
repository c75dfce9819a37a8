"""Latencies of this tool's own artifacts, by its own commands: `edgeds export`, then `edgeds bench`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeds.cache import Cache
from edgeds.emulator import wheels
from edgeds.process import run_process
from edgeds.results import LatencyReport, Method
from edgeds.spec import Format, Runtime
from tests.bench.published import Published

# What runs the nets of a row. XNNPACK's own numbers are of 2022. Since January 2025 (github.com/google/XNNPACK, commit eee3b31e71) it cuts
# products of matrices to pieces that fit the caches; before, all weights were read for every four rows of a product, which for fp32 is most
# of what a Raspberry Pi 4 takes. The release at hand that still does is tflite-runtime's, but its int8 goes to kernels of another library.
# One difference is left: its models (models/fp32-mobilenet-*.cc) keep each layer's output in memory of its own, of which none is left in a
# cache (28 MB for MobileNet v2, 11 MB for v3 small), where a runtime uses the same memory again. It makes small nets slower, and int8 hardly.
RUNS = {
    ("XNNPACK", "fp32"): (Format.TFLITE, Runtime.TFLITE_RUNTIME),
    ("XNNPACK", "int8"): (Format.EXECUTORCH, Runtime.EXECUTORCH),
    ("ExecuTorch", "fp32"): (Format.EXECUTORCH, Runtime.EXECUTORCH),
    ("ExecuTorch", "int8"): (Format.EXECUTORCH, Runtime.EXECUTORCH),
}
XNNPACK_NOTE = (
    "XNNPACK published MobileNets of its own, which keep each layer's output in memory of its own; what is run uses memory again, "
    "so that more of it is in a cache. Its numbers for the Raspberry Pi 3+ are of 32-bit ARM, and not compared."
)
_TIME_LIMIT_S = 3600.0


def release(row: Published) -> str:
    """The runtime and its version that are run for `row`."""
    _, runtime = RUNS[row.runtime, row.precision]
    return f"{runtime} {wheels.version(runtime)}"


def latency(row: Published, cache: Cache) -> LatencyReport:
    """What `edgeds bench` says of the net. The cache is the commands' own."""
    return _bench(row.net, row.precision, row.device, row.threads, *RUNS[row.runtime, row.precision], str(cache.root))


def _bench(
    net: str, precision: str, device: str, threads: int, format: Format, runtime: Runtime, cache: str
) -> LatencyReport:
    with tempfile.TemporaryDirectory() as folder:
        bundle = str(Path(folder) / "bundle")
        _run(["export", net, "--format", format, "--precision", precision, "--out", bundle], cache)
        how = ["--device", device, "--runtime", runtime, "--threads", str(threads), "--json"]
        (report,) = json.loads(_run(["bench", bundle, *how], cache))["latencies"]
    return _report(report)


def _run(arguments: list[str], cache: str) -> str:
    done = run_process(
        [sys.executable, "-m", "tests.bench.external_models", *arguments],
        timeout_s=_TIME_LIMIT_S,
        env={"EDGEDS_CACHE": cache},
    )
    if done.returncode not in (0, 1):  # 1: random weights may drift more than the limits allow
        raise done.failure(f"edgeds {arguments[0]}")
    return done.stdout


def _report(one: dict[str, Any]) -> LatencyReport:
    known = {"subject", "artifact_sha256", "device", "threads", "ms", "low_ms", "high_ms", "core_ms", "memory_ms"}
    known |= {"instructions", "dot_products", "matrix_products"}
    values = {name: value for name, value in one.items() if name in known}
    return LatencyReport(**values, method=Method(one["method"]), kernels=(), peak_bytes=None, n_regions=1)
