"""Latencies of a bundle's artifacts, with an emulator that starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgeds import benching, devices, estimating, reference
from edgeds import program as programs
from edgeds.benching import Wish
from edgeds.cache import Cache
from edgeds.data.samples import evenly_spaced, make_samples
from edgeds.emulating import Job, load, save
from edgeds.errors import InputError, ToolError
from edgeds.progress import Silent
from edgeds.report.latency import latency_json, latency_report
from edgeds.results import Benchmark, LatencyReport, Method
from edgeds.run.fake import FakeEmulator
from edgeds.spec import (
    Array,
    Artifact,
    Bundle,
    DataCard,
    DriftLimits,
    Format,
    Layout,
    Manifest,
    ModelCard,
    Node,
    Precision,
    Program,
    Runtime,
)
from edgeds.trace import Block, Lines, Trace
from tests.latency.code import code, fmla

FLOAT = np.array([[4.0, 1.0], [0.0, 2.0], [8.0, -8.0]], np.float32)
TRACE = Trace(
    (
        Block(0x1000, code(*(fmla(k) for k in range(8))), 900_000, Lines(dram_reads=1000), "gemm", "libx.so", 0x80),
        Block(0x2000, code(fmla(0)), 100_000, Lines(l2_hits=7, tlb_misses=3), "", ""),
    ),
    regions=1,
    peak_bytes=40_000_000,
)
CARD = ModelCard("net", "seed 0", 2, ((1, 2),), ((1, 2),), None, ())
PI_4, PI_5 = devices.load("raspberry-pi-4"), devices.load("raspberry-pi-5")
INT8, FP32 = Precision.INT8, Precision.FP32


def artifact(format: Format, precision: Precision) -> Artifact:
    sha256 = f"{list(Format).index(format)}{list(Precision).index(precision)}".ljust(64, "0")
    return Artifact(format, precision, Path("file"), sha256, 1, Layout.NCHW, (), 0, (), (), ())


MakeBundle = Callable[..., Bundle]


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """A bundle as benching reads it: a manifest, samples with the references' answers, and a graph that quantizes nothing."""
    nodes = (
        Node("x", "placeholder", "x", [], {}, (1, 2), "float32", ""),
        Node("output", "output", "output", [[{"node": "x"}]], {}, (), "", ""),
    )
    folder = tmp_path / "net-edgeds"
    folder.mkdir()
    samples = make_samples([FLOAT], ["a", "b", "c"], ["a", "b", "c"], "arrays")
    reference.write_samples(folder, samples, {"float": (FLOAT,), "pt2e": (FLOAT + 0.5,)})
    (folder / "reference").mkdir()
    programs.save(Program(nodes, {}, ((1, 2),)), folder / "reference" / "graph")

    def make(*artifacts: Artifact) -> Bundle:
        data = DataCard("arrays", 3, samples.digest)
        limits = DriftLimits(min_fp32_sqnr_db=100.0)
        return Bundle(
            folder, Manifest(1, "0.1.0", CARD, "w8c-a8t-histogram", data, data, (), artifacts, (), limits, (), {})
        )

    return make


def wish(**changes: object) -> Wish:
    return replace(Wish((PI_4,), None, None, (1,), 60.0), **changes)  # type: ignore[arg-type]  # fields of Wish


def answering(outputs: Array = FLOAT) -> FakeEmulator:
    subjects = ["onnx-int8@onnxruntime", "onnx-fp32@onnxruntime", "tflite-int8@litert", "tflite-int8@tflite-runtime"]
    few = outputs[evenly_spaced(len(outputs), benching.N_SAMPLES)]
    return FakeEmulator({subject: (few,) for subject in subjects}, TRACE)


def bench(bundle: Bundle, wanted: Wish, emulator: FakeEmulator, store: Cache | None = None) -> Benchmark:
    return benching.bench(bundle, wanted, emulator, store, Silent())


ONNX_BOTH = (artifact(Format.ONNX, INT8), artifact(Format.ONNX, FP32))


def test_every_artifact_is_run_in_every_runtime_on_every_device(make_bundle: MakeBundle) -> None:
    emulator = answering()
    bundle = make_bundle(artifact(Format.ONNX, INT8), artifact(Format.TFLITE, INT8))
    found = bench(bundle, wish(devices=(PI_4, PI_5)), emulator)
    expected = [
        (subject, device)
        for device in ("raspberry-pi-4", "raspberry-pi-5")
        for subject in ("onnx-int8@onnxruntime", "tflite-int8@litert", "tflite-int8@tflite-runtime")
    ]
    assert [(latency.subject, latency.device) for latency in found.latencies] == expected
    assert sorted(emulator.runs) == sorted(f"{subject} on {device}" for subject, device in expected)
    assert {latency.method for latency in found.latencies} == {Method.EMULATED}


def test_more_threads_are_projected_from_the_same_run(make_bundle: MakeBundle) -> None:
    emulator = answering()
    found = bench(make_bundle(artifact(Format.ONNX, INT8)), wish(threads=(1, 4)), emulator)
    assert [(latency.threads, latency.method) for latency in found.latencies] == [
        (1, Method.EMULATED),
        (4, Method.PROJECTED),
    ]
    assert len(emulator.runs) == 1


def test_only_what_is_wished_for_is_run(make_bundle: MakeBundle) -> None:
    emulator = answering()
    bundle = make_bundle(*ONNX_BOTH, artifact(Format.TFLITE, INT8))
    bench(bundle, wish(runtimes=(Runtime.ONNXRUNTIME,), precisions=(FP32,)), emulator)
    assert emulator.runs == ["onnx-fp32@onnxruntime on raspberry-pi-4"]


@pytest.mark.parametrize(
    ("artifacts", "changes", "message"),
    [
        (
            ONNX_BOTH,
            {"runtimes": (Runtime.LITERT,)},
            r"nothing for litert; it has onnx-int8, onnx-fp32; choose from these",
        ),
        (ONNX_BOTH[:1], {"precisions": (FP32,)}, r"nothing in fp32; it has onnx-int8; choose"),
        ((), {}, r"the bundle net-edgeds has no artifacts to run; make some with `edgeds export net-edgeds`"),
        (ONNX_BOTH, {"threads": (1, 5)}, r"5 threads do not fit on raspberry-pi-4; give 1 to 4"),
        (
            (artifact(Format.ONNX, FP32), artifact(Format.TFLITE, INT8)),
            {"runtimes": (Runtime.ONNXRUNTIME,), "precisions": (INT8,)},
            "no such runtime and precision together; it has onnx-fp32, tflite-int8",
        ),
    ],
)
def test_what_cannot_be_benched_is_refused_before_anything_is_run(
    make_bundle: MakeBundle, artifacts: Sequence[Artifact], changes: dict[str, object], message: str
) -> None:
    emulator = answering()
    with pytest.raises(InputError, match=message):
        bench(make_bundle(*artifacts), wish(**changes), emulator)
    assert emulator.runs == []


def test_answers_are_compared_with_both_references(make_bundle: MakeBundle) -> None:
    found = bench(make_bundle(*ONNX_BOTH), wish(), answering())
    reports = {(report.subject, report.reference): report for report in found.drift["raspberry-pi-4"]}
    assert set(reports) == {
        ("onnx-int8@onnxruntime", "float"),
        ("onnx-int8@onnxruntime", "pt2e"),
        ("onnx-fp32@onnxruntime", "float"),
    }
    assert reports["onnx-fp32@onnxruntime", "float"].sqnr_db == np.inf
    assert reports["onnx-int8@onnxruntime", "pt2e"].max_abs_error == 0.5
    assert found.violations == ()


def test_a_wrong_answer_on_a_device_exceeds_the_limits_of_the_bundle(make_bundle: MakeBundle) -> None:
    found = bench(make_bundle(ONNX_BOTH[0]), wish(), answering(-FLOAT))
    assert any(text.startswith("raspberry-pi-4: onnx-int8@onnxruntime: SQNR") for text in found.violations)


def test_two_samples_do_not_judge_agreement(make_bundle: MakeBundle) -> None:
    nearly = np.array([[4.0, 1.0], [1.01, 0.99], [8.0, -8.0]], np.float32)  # another class for the second of two
    found = bench(make_bundle(ONNX_BOTH[0]), wish(), answering(nearly))
    report = next(report for report in found.drift["raspberry-pi-4"] if report.reference == "float")
    assert (report.top1_agreement, report.sqnr_db > 10) == (0.5, True)
    assert found.violations == ()


def test_a_guest_that_fails_ends_the_bench_with_its_error(make_bundle: MakeBundle) -> None:
    crashed = ToolError("onnx-int8@onnxruntime on raspberry-pi-4 crashed with SIGSEGV")
    with pytest.raises(ToolError, match="crashed with SIGSEGV"):
        bench(make_bundle(ONNX_BOTH[0]), wish(), FakeEmulator({"onnx-int8@onnxruntime": crashed}, TRACE))


def test_the_time_limit_is_the_emulators(make_bundle: MakeBundle) -> None:
    emulator = answering()
    bench(make_bundle(ONNX_BOTH[0]), wish(time_limit_s=7.0), emulator)
    assert emulator.time_limits_s == [7.0]


def test_a_run_is_not_made_twice_but_for_another_image_or_device(make_bundle: MakeBundle, tmp_path: Path) -> None:
    store, bundle, emulator = Cache(tmp_path / "cache"), make_bundle(ONNX_BOTH[0]), answering()
    first = bench(bundle, wish(), emulator, store)
    assert bench(bundle, wish(), emulator, store) == first
    assert len(emulator.runs) == 1
    other_image = replace(emulator, digest="1" * 64)
    bench(bundle, wish(), other_image, store)
    bench(bundle, wish(devices=(devices.load("raspberry-pi-4-1.5ghz"),)), emulator, store)
    assert len(emulator.runs) == 3


def test_an_estimate_is_made_anew_for_another_model_or_device_but_the_run_is_kept(
    make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, bundle, emulator = Cache(tmp_path / "cache"), make_bundle(ONNX_BOTH[0]), answering()
    first = bench(bundle, wish(), emulator, store)
    memory = PI_4.memory
    slower = replace(PI_4, memory=replace(memory, dram_read=replace(memory.dram_read, ns=1e4)))
    assert bench(bundle, wish(devices=(slower,)), emulator, store).latencies[0].ms > first.latencies[0].ms
    made: list[object] = []

    def again(*_: object, **__: object) -> LatencyReport:
        made.append(1)
        return first.latencies[0]

    monkeypatch.setattr(estimating, "estimate", again)
    bench(bundle, wish(), emulator, store)
    assert made == []
    monkeypatch.setattr(estimating, "model_digest", lambda: "another")
    assert bench(bundle, wish(), emulator, store) == first
    assert (len(made), len(emulator.runs)) == (1, 1)


def test_the_digest_of_the_model_is_of_its_code_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[bytes] = []

    def digest(*parts: bytes) -> str:
        names.extend(parts[::2])
        return ""

    monkeypatch.setattr(estimating, "digest", digest)
    estimating.model_digest.__wrapped__()  # not what was found before
    assert {b"estimate.py", b"memory.py", b"cortex-a72.toml"} <= set(names)


def test_a_kept_run_comes_back_as_it_was(tmp_path: Path) -> None:
    emulator = answering()
    onnx = ONNX_BOTH[0]
    job = Job(onnx, Path("file"), Runtime.ONNXRUNTIME, PI_4, (FLOAT,), "digest", 1.0)
    run = emulator.run(onnx, job.path, job.runtime, job.inputs, job.device)
    save(run, tmp_path)
    back = load(tmp_path, job)
    assert back.trace == run.trace
    assert np.array_equal(back.record.outputs[0], run.record.outputs[0])
    assert (back.image_digest, back.record.device) == (run.image_digest, "emulated raspberry-pi-4")


def printed(found: Benchmark, kernels: bool = False, width: int = 110) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        for part in latency_report(found, [PI_4], kernels):
            console.print(part)
    return captured.get()


def test_the_report_says_the_method_the_interval_and_what_int8_gains(make_bundle: MakeBundle) -> None:
    found = bench(make_bundle(*ONNX_BOTH), wish(threads=(1, 4)), answering())
    text = printed(found)
    one = found.latencies[0]
    assert "Raspberry Pi 4 Model B, 1.8 GHz · Arm Cortex-A72, 1.8 GHz" in text
    assert f"{one.ms:.2f}  {one.low_ms:.2f}..{one.high_ms:.2f}  emulated" in text
    assert text.count("projected") == 4  # two rows, the fastest, and what it means
    assert "1.00×" in text
    assert "fastest: onnxruntime int8, 4 threads" in text


def test_the_table_fits_a_terminal_of_80_columns(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(*ONNX_BOTH, artifact(Format.TFLITE, INT8))
    lines = printed(bench(bundle, wish(threads=(1, 4)), answering()), width=80).splitlines()
    assert all("…" not in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_kernels_are_shown_with_their_share(make_bundle: MakeBundle) -> None:
    text = printed(bench(make_bundle(ONNX_BOTH[0]), wish(), answering()), kernels=True)
    assert "onnxruntime int8: where the time goes" in text
    assert "gemm" in text and "libx.so" in text and "outside of libraries" in text


def test_json_has_all_latencies_and_no_number_that_is_none(make_bundle: MakeBundle) -> None:
    content = latency_json(bench(make_bundle(*ONNX_BOTH), wish(), answering()))
    assert content["schema_version"] == 1
    assert [latency["method"] for latency in content["latencies"]] == ["emulated", "emulated"]
    assert content["drift"]["raspberry-pi-4"][0]["sqnr_db"] == "Infinity"
    assert content["image_digest"] == "0" * 64
