"""Latencies of this tool's own artifacts, by its own commands: `edgeds export`, then `edgeds bench`."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeds.cache import Cache
from edgeds.process import run_process
from edgeds.results import LatencyReport, Method
from tests.bench.published import Published

_TIME_LIMIT_S = 3600.0


def release() -> str:
    """What is run for these rows, whichever release or runtime was published: XNNPACK's kernels, as they are in ExecuTorch today."""
    return f"ExecuTorch {importlib.metadata.version('executorch')}"


def latency(row: Published, cache: Cache) -> LatencyReport:
    """What `edgeds bench` says of the net. The cache is the commands' own."""
    found = _bench(row.net, row.precision, row.device, str(cache.root))
    return next(one for one in found if one.threads == row.threads)


@functools.cache
def _bench(net: str, precision: str, device: str, cache: str) -> list[LatencyReport]:
    """Reports for one thread, and for four."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = str(Path(folder) / "bundle")
        _run(["export", net, "--format", "executorch", "--precision", precision, "--out", bundle], cache)
        said = _run(["bench", bundle, "--device", device, "--threads", "1,4", "--json"], cache)
    return [_report(one) for one in json.loads(said)["latencies"]]


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
