from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeds import lowering
from edgeds.cache import Cache
from edgeds.errors import ToolError
from edgeds.export.log import tidy
from edgeds.export.worker import Job
from edgeds.lowering import Order, lower_all
from edgeds.progress import Silent
from edgeds.spec import Artifact, Format, Layout, Node, Precision, Program, TfliteIo


class Told(Silent):
    """A progress that remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, step: str, total: int = 0) -> None:
        self.lines.append(f"{step} ...")

    def finish(self, step: str, note: str = "") -> None:
        self.lines.append(f"{step} {note}".strip())


class FakeConverters:
    """Stands where edgeds.export.lower.lower does: writes a file, a log, and tells."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.failure: BaseException | None = None
        self.logs: list[Path] = []

    def __call__(
        self, jobs: Sequence[Job], log_folder: Path, workers: int | None, event: Callable[[Job, str], None]
    ) -> tuple[Artifact, ...]:
        self.logs.append(log_folder)
        for job in jobs:
            event(job, "start")
            self.jobs.append(job.path.name)
            job.path.write_text(f"{job.format} {job.precision} {job.stem.with_suffix('.json').read_text()}")
            (log_folder / f"{job.path.name}.log").write_text(
                f"reading {job.stem}\n" if "tflite" in job.path.name else ""
            )
            if self.failure:
                raise self.failure
            event(job, "done")
        return tuple(Artifact(j.format, j.precision, j.path, "1" * 64, 1, Layout.NCHW, (), 0, (), (), ()) for j in jobs)


@pytest.fixture
def converters(monkeypatch: pytest.MonkeyPatch) -> FakeConverters:
    made = FakeConverters()
    monkeypatch.setattr(lowering, "lower", made)
    return made


def program(value: float = 1.0) -> Program:
    nodes = (
        Node("x", "placeholder", "x", [], {}, (1, 2), "float32", ""),
        Node("output", "output", "output", [{"node": "x"}], {}, (), "", ""),
    )
    return Program(nodes, {"w": np.full(2, value, np.float32)}, ((1, 2),))


def order(format: Format = Format.ONNX, value: float = 1.0, io: TfliteIo = TfliteIo.INT8) -> Order:
    return Order(format, Precision.INT8, program(value), f"net-int8.{format}", io)


def made_in(folder: Path, *orders: Order, store: Cache | None = None, told: Told | None = None) -> list[str]:
    folder.mkdir()
    return [str(a.path) for a in lower_all(orders, folder, store, told or Told())]


def test_artifacts_come_in_the_order_of_the_orders_with_paths_inside_the_folder(
    converters: FakeConverters, tmp_path: Path
) -> None:
    told = Told()
    found = made_in(tmp_path / "out", order(Format.TFLITE), order(Format.ONNX), told=told)
    assert found == ["net-int8.tflite", "net-int8.onnx"]
    steps = ["lower to tflite int8", "lower to onnx int8"]
    assert told.lines == [line for step in steps for line in (f"{step} ...", step)]
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "logs/net-int8.tflite.log",  # a converter that said nothing has no log
        "net-int8.onnx",
        "net-int8.tflite",
    ]
    assert (tmp_path / "out" / "logs" / "net-int8.tflite.log").read_text().startswith("reading work/")
    assert not converters.logs[0].exists()


def test_what_the_cache_has_is_not_lowered_again_and_comes_out_the_same(
    converters: FakeConverters, tmp_path: Path
) -> None:
    store, told = Cache(tmp_path / "cache"), Told()
    made_in(tmp_path / "first", order(Format.TFLITE), store=store)
    made_in(tmp_path / "second", order(Format.TFLITE), order(Format.ONNX), store=store, told=told)
    assert converters.jobs == ["net-int8.tflite", "net-int8.onnx"]
    assert told.lines[:2] == ["lower to tflite int8 ...", "lower to tflite int8 from the cache"]
    for file in ("net-int8.tflite", "logs/net-int8.tflite.log"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        order(value=2.0),
        order(io=TfliteIo.FLOAT),
        replace(order(), precision=Precision.FP32),
        replace(order(), file="other-int8.onnx"),
    ],
    ids=["weights", "io", "precision", "name"],
)
def test_anything_that_shapes_an_artifact_makes_another_cache_entry(
    converters: FakeConverters, tmp_path: Path, other: Order
) -> None:
    store = Cache(tmp_path / "cache")
    made_in(tmp_path / "first", order(), store=store)
    made_in(tmp_path / "second", other, store=store)
    assert len(converters.jobs) == 2


def test_another_version_of_a_converter_makes_another_cache_entry(
    converters: FakeConverters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path / "cache")
    made_in(tmp_path / "first", order(), store=store)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "99")
    made_in(tmp_path / "second", order(), store=store)
    assert len(converters.jobs) == 2


def test_one_program_is_written_once_for_all_formats(converters: FakeConverters, tmp_path: Path) -> None:
    assert made_in(tmp_path / "out", *(order(format) for format in Format)) == [f"net-int8.{f}" for f in Format]
    texts = {(tmp_path / "out" / f"net-int8.{f}").read_text().split(" ", 2)[2] for f in Format}
    assert len(texts) == 1 and json.loads(texts.pop())["nodes"]


def test_a_failed_converters_log_stays_where_the_error_says(converters: FakeConverters, tmp_path: Path) -> None:
    converters.failure = ToolError("lowering failed; the whole log is there")
    with pytest.raises(ToolError):
        made_in(tmp_path / "out", order())
    assert converters.logs[0].is_dir()


def test_an_interrupt_leaves_no_log_behind(converters: FakeConverters, tmp_path: Path) -> None:
    converters.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        made_in(tmp_path / "out", order())
    assert not converters.logs[0].exists()


def test_the_code_digest_covers_all_of_edgeds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    read = Path.read_bytes

    def watched(path: Path) -> bytes:
        seen.append(path.name.encode())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    assert lowering.code_digest.__wrapped__() == lowering.code_digest()
    assert {b"lower.py", b"pt2e.py", b"lowering.py", b"agent.py"} < set(seen)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("I0000 00:00:1795.02 5826 cpu.cc:12] built", "cpu.cc:12] built"),
        ("(00:09) passes done", "passes done"),
        ("passes (+00:01) took 1.25 s and 3ms", "passes took … and …"),
        ("object at 0x7f00deadbeef", "object at 0x…"),
        ("reading /build/xyz/net.json", "reading work/net.json"),
        ("half\rdone   ", "half\ndone"),
    ],
)
def test_a_log_is_the_same_in_every_run_and_on_every_machine(line: str, kept: str) -> None:
    assert tidy(f"\n{line}\n\n", "/build/xyz") == f"{kept}\n"
