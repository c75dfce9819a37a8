"""`edgeds bench`, as users call it: on a real bundle and a real emulator, and what it refuses before anything is emulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeds import cli_outcome
from edgeds.bundle import open_bundle
from edgeds.cli import app
from edgeds.cli_bench import estimable_names
from edgeds.emulator.image import Image
from edgeds.errors import InputError
from edgeds.report.rows import milliseconds
from tests.cli.conftest import Exported
from tests.cli.test_sensitivity import MODEL

InProcess = Callable[..., tuple[int, str, str]]

MISTAKES = {
    "no device": ("bench out", "missing option '--device'"),
    "an unknown device": (
        "bench out --device raspbery-pi-4",
        "unknown device 'raspbery-pi-4'; did you mean raspberry-pi-4? choose from galaxy-a03-core, oneplus-nord-2, pixel-2",
    ),
    "an empty list": ("bench out --device ,", "--device is empty; choose from galaxy-a03-core"),
    "one of two": ("bench out --device raspberry-pi-4,nokia-3310", "unknown device 'nokia-3310'; choose from"),
    "an iPhone": (
        "bench out --device iphone-15",
        "iphone-15 can be exported for, but not estimated: its apple-a16 has no pipeline; those that have one are cortex-a53",
    ),
    "a runtime": (
        "bench out --device pixel-4 --runtime tensorrt",
        "unknown --runtime 'tensorrt'; choose from executorch",
    ),
    "a precision": (
        "bench out --device pixel-4 --precision int4",
        "unknown --precision 'int4'; choose from int8, fp32",
    ),
    "threads": (
        "bench out --device pixel-4 --threads four",
        "cannot read --threads 'four'; give whole numbers like 1,4",
    ),
    "a time limit": ("bench out --device pixel-4 --time-limit 0", "invalid value for '--time-limit'"),
    "a bundle": ("bench none-edgeds --device pixel-4", "give the folder that `edgeds export` made"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_choices(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / "cache"))
    command, message = MISTAKES[mistake]
    code = cli_outcome.run(app, command.split())
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("edgeds: error: ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert message in lines[0]


def test_an_export_for_a_device_that_cannot_be_estimated_is_made_and_says_so(edgeds: InProcess, tmp_path: Path) -> None:
    code, _, err = edgeds("export", *MODEL, "--format", "onnx", "--device", "iphone-15", "--out", tmp_path / "phone")
    assert code == 0
    assert [found.path.name for found in open_bundle(tmp_path / "phone").manifest.artifacts] == ["tiny-int8.onnx"]
    assert "iphone-15 is exported for, but not estimated: its apple-a16 has no pipeline" in " ".join(err.split())


def test_devices_that_can_be_estimated_are_told_from_others() -> None:
    names, told = estimable_names("iphone-15,raspberry-pi-4")
    assert (names, len(told)) == (("raspberry-pi-4",), 1)
    with pytest.raises(InputError, match="unknown device 'nokia-3310'"):
        estimable_names("iphone-15,nokia-3310")


@pytest.mark.emulator
def test_a_bundle_is_benched_on_a_device_that_nobody_owns(edgeds: InProcess, image: Image, exported: Exported) -> None:
    chosen = ("--device", "raspberry-pi-5", "--precision", "int8", "--runtime", "executorch,onnxruntime")
    code, out, _ = edgeds("bench", exported.path, *chosen, "--json")
    found = json.loads(out)
    latencies = {latency["subject"]: latency for latency in found["latencies"]}
    assert code == 0
    assert list(latencies) == ["executorch-int8@executorch", "onnx-int8@onnxruntime"]
    for latency in latencies.values():
        assert (latency["device"], latency["method"], latency["n_regions"]) == ("raspberry-pi-5", "emulated", 1)
        assert 0 < latency["low_ms"] < latency["ms"] < latency["high_ms"] < 5
        assert latency["dot_products"] > 0  # the kernels of a Cortex-A76
    assert found["image_digest"] == image.digest
    host = {(r.subject, r.reference): r.sqnr_db for r in open_bundle(exported.path).manifest.drift}
    for report in found["drift"]["raspberry-pi-5"]:
        assert (
            float(report["sqnr_db"]) >= host[report["subject"], report["reference"]] - 6
        )  # of two samples instead of all
    code, out, _ = edgeds("bench", exported.path, *chosen, "--threads", "1,4", "--kernels")  # from the cache
    assert code == 0
    assert out.count("emulated") >= 2 and out.count("projected") >= 2
    assert "where the time goes" in out and "libexecutorch_backend_xnnpack.so" in out


@pytest.mark.emulator
def test_layers_are_timed_and_kept_in_the_bundle(edgeds: InProcess, image: Image, bundle: Path) -> None:
    chosen = ("--device", "raspberry-pi-5", "--precision", "int8", "--runtime", "executorch")
    code, out, _ = edgeds("bench", bundle, *chosen, "--layers", "--save")
    assert code == 0
    assert "executorch int8: layer by layer" in out and "3.pointwise" in out
    open_bundle(bundle)
    (latency,) = json.loads((bundle / "latency.json").read_text())["latencies"]
    named = {layer["module"] for layer in latency["layers"]}
    assert {"0", "3.depthwise", "3.pointwise", "4.depthwise", "4.pointwise", "7"} <= named
    assert sum(layer["share"] for layer in latency["layers"]) == pytest.approx(1)
    html = (bundle / "report.html").read_text()
    assert f"{milliseconds(latency['low_ms'])}..{milliseconds(latency['high_ms'])}" in html and "3.pointwise" in html
    assert edgeds("validate", bundle)[0] == 0  # it is a bundle like any other


@pytest.mark.emulator
def test_an_export_for_a_device_says_what_layers_in_float_cost_and_its_json_is_nothing_else(
    edgeds: InProcess, image: Image, tmp_path: Path
) -> None:
    asked = (
        "--recipe",
        "fast",
        "--format",
        "executorch",
        "--keep-float",
        "3.pointwise",
        "--device",
        "raspberry-pi-5",
        "--json",
    )
    code, out, _ = edgeds("export", *MODEL, *asked, "--out", tmp_path / "mixed")
    found = json.loads(out)
    assert code == 0
    (latency,), (cost,) = found["latency"]["latencies"], found["latency"]["float_costs"]
    assert (latency["method"], latency["device"]) == ("emulated", "raspberry-pi-5")
    assert (cost["subject"], cost["ms"]) == ("executorch-int8@executorch", latency["ms"])
    assert cost["ms"] > cost["whole_ms"]
    assert cost["sqnr_db"] > cost["whole_sqnr_db"]
    assert json.loads((tmp_path / "mixed" / "latency.json").read_text()) == found["latency"]
    assert "layers in float, executorch: +" in (tmp_path / "mixed" / "report.html").read_text()


@pytest.mark.emulator
def test_a_guest_that_takes_too_long_is_ended_and_said_in_one_line(
    edgeds: InProcess, image: Image, exported: Exported
) -> None:
    call = ("bench", exported.path, "--device", "pixel-2", "--precision", "fp32", "--runtime", "onnxruntime")
    code, out, err = edgeds(*call, "--time-limit", "1")
    assert (code, out) == (3, "")
    assert "time limit of 1 s" in err.splitlines()[-1] and "give it more with --time-limit" in err.splitlines()[-1]


def test_a_corrupt_artifact_is_refused(edgeds: InProcess, bundle: Path) -> None:
    file = next(bundle.glob("*.onnx"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    code, out, err = edgeds("bench", bundle, "--device", "pixel-2")
    assert (code, out) == (2, "")
    assert f"{file.name!r} was changed" in err.splitlines()[-1]
