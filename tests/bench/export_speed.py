"""How fast an export is, as ratios within one run: formats side by side against one after another, and a second export. `make bench`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import edgeds
from edgeds.process import run_process
from edgeds.run import host
from edgeds.spec import Format, Runtime
from tests.bench.photos import mobilenet_v2_weights

PARALLEL_LIMIT = 0.75
SECOND_LIMIT = 0.2


def main() -> None:
    """Prints both ratios with their limits; exit code 1 where one is exceeded."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["EDGEDS_CACHE"] = str(Path(temporary) / "cache")
        parallel = _parallel(Path(temporary))
        second = _second_export(Path(temporary))
    raise SystemExit(parallel > PARALLEL_LIMIT or second > SECOND_LIMIT)


def _parallel(work: Path) -> float:
    """Wall time of lowering the three int8 formats together / the sum of their wall times one by one."""
    from edgeds.lowering import Order, lower_all
    from edgeds.progress import Silent
    from edgeds.spec import Precision, TfliteIo

    quantized = edgeds.quantize(edgeds.load_model("mobilenet_v2", weights=str(mobilenet_v2_weights())), recipe="fast")
    orders = [
        Order(format, Precision.INT8, quantized.graph, f"mobilenet_v2-{format}", TfliteIo.INT8) for format in Format
    ]

    def lower(*wanted: Order) -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            lower_all(wanted, Path(folder), None, Silent())

    together = _seconds(lambda: lower(*orders))
    alone = {order.format: _seconds(lambda order=order: lower(order)) for order in orders}  # type: ignore[misc]
    ratio = together / sum(alone.values())
    listed = ", ".join(f"{format} {seconds:.1f} s" for format, seconds in alone.items())
    print(f"mobilenet_v2, three int8 artifacts: {together:.1f} s together; {listed} one by one")
    print(f"together / sum = {ratio:.2f} (limit {PARALLEL_LIMIT})", flush=True)
    return ratio


def _second_export(work: Path) -> float:
    """Wall time of the same command with nothing changed / the first time's, each in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "edgeds",
        "export",
        "mobilenet_v2",
        "--weights",
        str(mobilenet_v2_weights()),
        "--recipe",
        "fast",
        "--force",
    ]
    command += ["--out", str(work / "bundle"), "--json"]

    def run() -> None:
        done = run_process(command)
        if done.returncode:
            raise done.failure("edgeds export")

    os.environ["EDGEDS_CACHE"] = str(work / "empty")
    host.check(
        Runtime.TFLITE_RUNTIME
    )  # its environment is built once for all exports: not a part of the first one's time
    first, second = _seconds(run), _seconds(run)
    print(f"edgeds export mobilenet_v2: {first:.1f} s, again {second:.1f} s")
    print(f"second / first = {second / first:.2f} (limit {SECOND_LIMIT})", flush=True)
    return second / first


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
