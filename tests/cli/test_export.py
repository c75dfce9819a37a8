"""What one real export writes and says, and that everything which repeats it agrees with it."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds import pipeline
from edgeds.bundle import open_bundle
from edgeds.explain import Explanation, LayerReport
from edgeds.explain.ranges import Ranges
from edgeds.manifest import digest_files
from edgeds.recipe import RECIPES
from edgeds.spec import Compute, Format, Precision, Runtime

Call = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., tuple[int, str, str]]

EXPORT = (
    "export net.py:tiny --calibration photos --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --resize 36 --labels labels.txt"
)
BOTH = (*EXPORT.split(), "--precision", "int8,fp32")


def files(folder: Path) -> list[str]:
    return sorted(digest_files(folder))


def test_a_bundle_holds_every_artifact_and_what_is_needed_to_check_it_elsewhere(exported: Any) -> None:
    artifacts = [f"tiny-{p}{suffix}" for p in ("int8", "fp32") for suffix in (".onnx", ".pte", ".tflite")]
    references = [f"reference/{name}.{kind}" for name in ("float", "graph") for kind in ("json", "safetensors")]
    samples = [f"samples/{name}_0.npy" for name in ("input", "float_output", "pt2e_output")]
    others = ["agent.py", "labels.txt", "report.html", "samples/names.json"]
    found = [name for name in files(exported.path) if not name.startswith("logs/")]
    assert found == sorted([*artifacts, *references, *samples, *others])
    assert (exported.path / "manifest.json").is_file()
    assert (exported.path / "labels.txt").read_text() == "ant\nbee\ncat\ndog\neel\n"


def test_the_manifest_says_how_the_model_was_quantized_and_on_what(exported: Any) -> None:
    manifest = open_bundle(exported.path).manifest
    assert (manifest.recipe, manifest.seeded, manifest.model.parameters) == (RECIPES["best"], False, 1029)
    assert manifest.calibration is not None
    assert (manifest.calibration.source, manifest.calibration.n_samples) == ("photos", 15)
    assert (manifest.validation.source, manifest.validation.n_samples) == ("photos", 5)
    assert len(manifest.calibration.digest) == 64 and manifest.calibration.digest != manifest.validation.digest
    assert manifest.model.preprocess is not None and manifest.model.preprocess.resize == 36
    weights = [t for t in manifest.quantization if t.axis is not None]
    activations = [t for t in manifest.quantization if t.axis is None]
    # one convolution of the stem, two of each block, one linear layer
    assert [len(t.scale) for t in weights] == [8, 8, 16, 16, 16, 5]
    assert all(scale > 0 for t in manifest.quantization for scale in t.scale)
    assert all(-128 <= t.zero_point[0] <= 127 for t in activations) and len(activations) >= 9


def test_int8_artifacts_have_no_float_operator_and_every_runtime_ran_them(exported: Any) -> None:
    manifest = open_bundle(exported.path).manifest
    assert len(manifest.artifacts) == len(Format) * len(Precision)
    for artifact in manifest.artifacts:
        if artifact.precision is Precision.INT8:
            assert artifact.count(Compute.FLOAT32) == 0, artifact.operators
        assert (artifact.delegates, artifact.outside) == (int(artifact.format is Format.EXECUTORCH), ())
    assert set(manifest.runtimes) == set(Runtime)
    against_float = {d.subject: d.sqnr_db for d in manifest.drift if d.reference == "float"}
    assert len(against_float) == 1 + 2 * len(Runtime)
    assert all(sqnr >= (20 if "int8" in name or name == "pt2e" else 100) for name, sqnr in against_float.items())
    assert sum("@" in d.reference for d in manifest.drift) == 6  # each pair of four runtimes


def test_nothing_in_a_bundle_names_a_folder_of_this_machine(exported: Any, home: Path, cache: Path) -> None:
    private = [str(path).encode() for path in (home, cache, exported.path, Path(sys.prefix), Path.home() / ".cache")]
    found = [
        n for n in (*files(exported.path), "manifest.json") for p in private if p in (exported.path / n).read_bytes()
    ]
    assert found == []


def test_only_the_report_is_on_stdout_and_only_progress_on_stderr(exported: Any) -> None:
    assert exported.stdout.startswith("tiny · 1,029 parameters · input 1")
    assert "a user's file that talks" in exported.stderr.splitlines()
    lines = [line for line in exported.stderr.splitlines() if line != "a user's file that talks"]
    steps = [line.removesuffix(" ...") for line in lines if line.endswith(" ...")]
    done = [line.split(": done in ")[0] for line in lines if ": done in " in line]
    assert sorted(steps) == sorted(done) and len(lines) == len(steps) + len(done)
    lowered = {f"lower to {format} {precision}" for format in Format for precision in Precision}
    assert lowered < set(steps) and {"load the data", "quantize", "validate", "write the bundle"} < set(steps)


@pytest.mark.parametrize("file", ["tiny-int8.pte", "tiny-int8.onnx", "tiny-int8.tflite"])
def test_the_agent_in_the_bundle_repeats_the_reference_on_the_samples_in_it(
    exported: Any, tmp_path: Path, file: str
) -> None:
    runtimes = {".pte": ("executorch", "nchw"), ".onnx": ("onnxruntime", "nchw"), ".tflite": ("litert", "nhwc")}
    runtime, layout = runtimes[Path(file).suffix]
    request: dict[str, Any] = {
        "runtime": runtime,
        "artifact": file,
        "inputs": ["samples/input_0.npy"],
        "layout": layout,
    }
    request |= {"threads": 1, "outputs": str(tmp_path), "repeats": 1}
    command = [sys.executable, "agent.py"]
    done = subprocess.run(
        command, input=json.dumps(request), cwd=exported.path, capture_output=True, text=True, check=True
    )
    output = np.load(json.loads(done.stdout)["outputs"][0])
    expected = np.load(exported.path / "samples" / "pt2e_output_0.npy")
    lsb = open_bundle(exported.path).manifest.quantization[-1].scale[0]
    assert output.shape == expected.shape == (5, 5)
    assert np.abs(output - expected).max() <= 2.01 * lsb


def test_a_second_export_takes_everything_from_the_cache_and_is_the_same_to_the_byte(
    call: Call, exported: Any, tmp_path: Path
) -> None:
    done = call(*BOTH, "--out", tmp_path / "again")
    assert done.returncode == 0
    cached = [line.split(": ")[0] for line in done.stderr.splitlines() if line.endswith("(from the cache)")]
    assert sorted(cached) == sorted(["quantize", *(f"lower to {f} {p}" for f in Format for p in Precision)])
    names = [*files(exported.path), "manifest.json"]
    assert filecmp.cmpfiles(exported.path, tmp_path / "again", names, shallow=False) == (names, [], [])
    assert files(tmp_path / "again") == files(exported.path)
    assert done.stdout.replace(str(tmp_path / "again"), str(exported.path)) == exported.stdout


def test_json_is_all_that_stands_on_stdout(call: Call, exported: Any, tmp_path: Path) -> None:
    done = call(*BOTH, "--out", tmp_path / "again", "--json")
    content = json.loads(done.stdout)
    assert (done.returncode, content["schema_version"], content["violations"]) == (0, 1, [])
    assert [a["name"] for a in content["artifacts"]] == [f"{f}-{p}" for f in Format for p in Precision]
    assert done.stderr == "a user's file that talks\n"


def test_a_limit_that_is_exceeded_ends_with_1_and_names_the_number_and_the_limit(
    edgeds: InProcess, exported: Any, tmp_path: Path
) -> None:
    code, out, err = edgeds(*BOTH, "--out", tmp_path / "again", "--min-sqnr", "90")
    assert code == 1
    message = err.splitlines()[-1]
    assert message.startswith("edgeds: error: 4 limits exceeded: executorch-int8@executorch: SQNR ")
    assert "dB against float is under the limit of 90.0 dB" in message
    assert "limit exceeded:" in out
    assert open_bundle(tmp_path / "again").manifest.limits.min_int8_sqnr_db == 90  # it is written all the same
    assert edgeds("validate", tmp_path / "again")[0] == 1


def test_validate_repeats_what_the_export_measured(edgeds: InProcess, exported: Any) -> None:
    code, out, _ = edgeds("validate", exported.path, "--json")
    content, manifest = json.loads(out), json.loads((exported.path / "manifest.json").read_text())
    assert (code, content["violations"]) == (0, [])
    assert content["drift"] == manifest["drift"]


def test_validate_explains_every_layer_of_every_int8_artifact(edgeds: InProcess, exported: Any) -> None:
    code, out, _ = edgeds("validate", exported.path, "--layers", "--json")
    assert code == 0
    found = json.loads(out)["layers"]
    assert {explanation["identical"] for explanation in found} == {1.0}
    int8 = [a for a in open_bundle(exported.path).manifest.artifacts if a.precision is Precision.INT8]
    assert [explanation["subject"].partition("@")[0] for explanation in found] == [a.name for a in int8]
    for explanation in found:
        assert not any(layer["wrong"] for layer in explanation["layers"])
        assert " % of the final error comes from " in explanation["sentence"]


def test_a_wrong_layer_is_named_and_its_exit_code_is_that_of_a_limit(
    edgeds: InProcess, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LayerReport("conv2d", "stem", "net.py:9", 0.5, 30.0, 40.0, Ranges(1.5, 0.0, 0, 8), 57.0, 0, "it is off")
    found = Explanation("onnx-int8@onnxruntime", 8, 1.0, 0, (layer,), "stem (conv2d) is wrong: it is off")
    monkeypatch.setattr(pipeline, "explain", lambda *_, **__: (found,))
    code, out, err = edgeds("validate", exported.path, "--layers")
    assert code == 1
    assert "stem (conv2d) is wrong: it is off" in out
    assert err.endswith("edgeds: error: 1 layer wrong: onnx-int8@onnxruntime: stem (conv2d) is wrong: it is off\n")


def test_validate_measures_on_new_data(edgeds: InProcess, exported: Any) -> None:
    code, out, err = edgeds("validate", exported.path, "--data", "photos.npz", "--json")
    content = json.loads(out)
    assert (code, content["validation"]["source"], content["drift"][0]["n_inputs"]) == (0, "photos.npz", 6)
    assert any("photos.npz: only 6 samples" in warning for warning in content["warnings"])
    assert err == ""


def test_quantize_and_then_export_gives_the_same_artifacts_as_export_alone(
    edgeds: InProcess, exported: Any, tmp_path: Path
) -> None:
    options = BOTH[2:-2]
    code, out, _ = edgeds("quantize", "net.py:tiny", *options, "--out", tmp_path / "quantized")
    assert code == 0 and "no limit applies: nothing was judged" in out
    saved = open_bundle(tmp_path / "quantized").manifest
    assert saved.artifacts == () and saved.quantization
    code, _, _ = edgeds("export", tmp_path / "quantized", "--precision", "int8,fp32", "--out", tmp_path / "later")
    assert code == 0
    names = [a.path.name for a in open_bundle(exported.path).manifest.artifacts]
    assert filecmp.cmpfiles(exported.path, tmp_path / "later", names, shallow=False)[0] == names


def test_force_replaces_a_bundle(edgeds: InProcess, bundle: Path) -> None:
    (bundle / "labels.txt").write_text("old")
    assert edgeds(*BOTH, "--format", "onnx", "--out", bundle)[0] == 2
    assert (bundle / "labels.txt").read_text() == "old"
    assert edgeds(*BOTH, "--format", "onnx", "--out", bundle, "--force")[0] == 0
    assert [a.format for a in open_bundle(bundle).manifest.artifacts] == [Format.ONNX, Format.ONNX]
    assert os.listdir(bundle.parent) == [bundle.name]


def test_where_no_tflite_runtime_can_be_had_the_report_says_so(
    call: Call, exported: Any, tmp_path: Path, cache: Path
) -> None:
    own = tmp_path / "cache"
    shutil.copytree(cache, own, ignore=shutil.ignore_patterns(".environments"))
    shutil.rmtree(own / "runs")
    offline = {"EDGEDS_CACHE": str(own), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = call(*BOTH, "--format", "tflite", "--out", tmp_path / "out", env=offline)
    assert done.returncode == 0, done.stderr
    warning = open_bundle(tmp_path / "out").manifest.warnings[-1]
    assert warning.startswith(
        "not validated in tflite-runtime: installing tflite-runtime with pip failed with exit code"
    )
    assert str(tmp_path) not in warning
    assert (
        warning in done.stderr and "not validated in tflite-runtime" in (tmp_path / "out" / "report.html").read_text()
    )
