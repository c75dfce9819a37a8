"""Every mistake that a user can make: its exit code, and one line that says what, the value, the choices, the next step."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.bundle import open_bundle
from edgeds.manifest import encode
from edgeds.spec import Manifest

Call = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., tuple[int, str, str]]

MISTAKES = {
    "a command": ("exprot net.py:tiny", "no such command 'exprot'; did you mean 'export'? choose from export, quant"),
    "no model": ("export", "missing argument 'MODEL'; see `edgeds export --help`"),
    "an option": ("export ds_cnn --fromat onnx", "no such option: --fromat"),
    "a number": ("export ds_cnn --seed one", "invalid value for '--seed'"),
    "a format": ("export ds_cnn --format onx", "unknown --format 'onx'; choose from executorch, onnx, tflite"),
    "no format": ("export ds_cnn --format ,", "--format is empty; choose from executorch, onnx, tflite"),
    "a precision": ("export ds_cnn --precision int4", "unknown --precision 'int4'; choose from int8, fp32"),
    "an io type": ("export ds_cnn --tflite-io uint8", "unknown --tflite-io 'uint8'; choose from int8, float"),
    "two io types": ("export ds_cnn --tflite-io int8,float", "--tflite-io 'int8,float' names 2; choose one of int8, "),
    "io without effect": (
        "export ds_cnn --format onnx --tflite-io float",
        "--tflite-io float is for int8 .tflite files",
    ),
    "a recipe": (
        "export ds_cnn --recipe w4",
        "unknown recipe 'w4'; choose from fast, best, w8c-a8t-histogram, w8c-a8t-minmax",
    ),
    "a recipe for quantize": ("quantize ds_cnn --recipe w4", "unknown recipe 'w4'; choose from fast, best, "),
    "recipe without effect": (
        "export ds_cnn --precision fp32 --recipe w8c-a8t-minmax",
        "--recipe 'w8c-a8t-minmax' is for int8, which --precision leaves out",
    ),
    "a model": ("export mobilenet_v9", "unknown model 'mobilenet_v9'; did you mean 'mobilenet_v"),
    "a model file": ("export nets.py:tiny", "cannot load a model from 'nets.py': no such file"),
    "a model's name": ("export net.py:tniy", "'net.py' has no 'tniy'; did you mean 'tiny'?"),
    "a package": ("export keyword.model:Spotter", "no Python module 'keyword.model' for the model 'keyword.model'"),
    "an archive": ("export none.pt2", "cannot load a model from 'none.pt2': no such file"),
    "a broken model": ("export broken.py:net", "cannot import 'broken.py': broken.py line 1: SyntaxError"),
    "a folder": ("inspect photos", "'photos' is a folder; as a model give a zoo name (see `edgeds models`), path/to"),
    "a helper": ("export net.py:Separable", "needs arguments (inputs, outputs)"),
    "values": (
        "export table.py:Table --calibration ids.npz",
        "the model does not run on sample 'ids.npz#",
    ),
    "answers of NaN": (
        "export table.py:Log --calibration ids.npz --precision fp32",
        "the model computes NaN or infinity in ",
    ),
    "weights": ("export net.py:tiny --weights none.pt", "cannot read weights from 'none.pt': no such file"),
    "broken weights": ("export net.py:tiny --weights broken.pt", "cannot read weights from 'broken.pt': not a file of"),
    "no pretrained": (
        "export ds_cnn --weights pretrained",
        "there are no pretrained weights for 'ds_cnn'; choose from",
    ),
    "a width": ("export net.py:tiny --width 0.5", "--width 0.5 is for zoo models"),
    "shape words": (
        "export ds_cnn --input-shape 1x1x49x10",
        "cannot read --input-shape '1x1x49x10'; give whole numbers",
    ),
    "shape batch": (
        "export net.py:tiny --input-shape 8,3,32,32 --input-shape 1,4",
        "the first axis of each is the batch and must be the same in all",
    ),
    "shape zero": ("export net.py:tiny --input-shape 1,3,0,32", "every dimension must be at least 1"),
    "shape unfit": (
        "export net.py:tiny --calibration random --input-shape 1,4,32,32",
        "does not run on an input of shape 1,4,32,32",
    ),
    "an operator": (
        "export net.py:Best --calibration random",
        "TFLite cannot take aten.topk.default at net.py:25; return what it works on, and compute it in the app; or leave",
    ),
    "labels": ("export ds_cnn --labels none.txt", "cannot read --labels none.txt: No such file or directory; give a"),
    "no labels": ("export ds_cnn --labels empty.txt", "cannot use --labels empty.txt: it is empty; give a class name"),
    "a gap": ("export ds_cnn --labels gap.txt", "cannot use --labels gap.txt: line 2 is empty"),
    "too few labels": (
        "export keywords.model:Spotter --calibration audio.npz --labels labels.txt",
        "Spotter answers with 4 scores, but there are 5 labels; give --labels with as many lines",
    ),
    "no data": ("export net.py:tiny --calibration none", "none does not exist; give a folder of images, or a file of"),
    "an empty folder": ("export net.py:tiny --calibration empty", "no image in empty (found nothing); give a folder"),
    "a broken image": ("export net.py:tiny --calibration broken", "broken/a.jpg"),
    "NaN": ("export net.py:tiny --calibration nan.npz", "nan.npz#1 has 1 values that are NaN, Inf or too large"),
    "a data shape": ("export net.py:tiny --calibration audio.npz", "audio.npz has shape [24, 1, 20, 10] but the model"),
    "constant data": ("export net.py:tiny --calibration ones.npz", "ones.npz#0 is constant, every value is 1; remove"),
    "one sample": ("export net.py:tiny --calibration one.npz", "one.npz has 1 sample: none can be held out; give at"),
    "validation": ("export net.py:tiny --calibration photos --validation none", "none does not exist"),
    "a mean": ("export mobilenet_v2 --mean a,b,c", "cannot read --mean 'a,b,c'; give a number a channel"),
    "two means": ("export mobilenet_v2 --mean 0.5,0.5", "preprocessing has 2 means but 3 standard deviations"),
    "a std": ("export mobilenet_v2 --std 1,1,0", "positive standard deviations"),
    "half of it": ("export net.py:tiny --std 1,1,1", "tiny brings no preprocessing: give --mean, --std and --resize"),
    "a resize": ("export mobilenet_v2 --resize -1", "cannot resize the short side to -1 pixels"),
    "interpolation": ("export mobilenet_v2 --interpolation cubic", "unknown --interpolation 'cubic'; choose from bil"),
    "colours": ("export mobilenet_v2 --color-order rbg", "unknown --color-order 'rbg'; choose from rgb, bgr, gray"),
    "an SQNR": ("export ds_cnn --min-sqnr nan", "--min-sqnr nan is no limit"),
    "an agreement": ("export ds_cnn --min-agreement 75", "--min-agreement 75 is no share; give a number from 0 to 1"),
    "a spread": ("export ds_cnn --max-spread -1", "--max-spread -1 is no distance"),
    "a bundle": (
        "validate none",
        "No such file or directory: none; give the folder that `edgeds export`",
    ),
    "no bundle": ("validate photos", "photos is a folder without manifest.json, so no bundle; give the folder"),
    "a foreign manifest": ("validate foreign", "foreign/manifest.json has no schema_version, so it is not from edgeds"),
    "a foreign model": ("export foreign", "foreign/manifest.json has no schema_version, so it is not from edgeds"),
    "an existing file": ("export ds_cnn --out labels.txt", "labels.txt is a file, not a folder; choose another --out"),
    "an existing folder": ("export ds_cnn --out photos", "photos exists; --force replaces it, or choose another --out"),
    "another's folder": ("export ds_cnn --out photos --force", "photos holds other things than a bundle and is not"),
    "below a file": ("export ds_cnn --out labels.txt/x", "labels.txt is a file, not a folder; choose another --out"),
    "a read-only place": (
        "export keywords.model:Spotter --calibration audio.npz --out /proc/edgeds",
        "the bundle /proc/edgeds was not written: ",
    ),
}


TABLE = """
import torch
from torch import nn


class Table(nn.Module):
    input_shape = (1, 4)

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)

    def forward(self, x):
        return self.embedding(x.long()).flatten(1)


class Log(nn.Module):
    input_shape = (1, 4)

    def forward(self, x):
        return torch.log(x)
"""


@pytest.fixture(scope="session")
def mistaken(home: Path) -> Path:
    """The user's folder with what users get wrong in it."""
    (home / "broken.py").write_text("def net(:\n")
    (home / "broken.pt").write_bytes(b"PK\x03\x04 cut off")
    (home / "empty.txt").touch()
    (home / "table.py").write_text(TABLE)
    ids = np.random.default_rng(2).integers(-9, 9, size=(8, 4)).astype(np.float32)
    np.savez(home / "ids.npz", ids)
    (home / "gap.txt").write_text("one\n\nthree\n")
    for name in ("empty", "broken", "foreign"):
        (home / name).mkdir()
    (home / "broken" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (home / "foreign" / "manifest.json").write_text('{"name": "a web app"}')
    inputs = np.random.default_rng(1).normal(size=(4, 3, 32, 32)).astype(np.float32)
    np.savez(home / "one.npz", inputs[:1])
    inputs[1, 0, 0, 0] = np.nan
    np.savez(home / "nan.npz", inputs)
    np.savez(home / "ones.npz", np.ones_like(inputs))
    return home


def assert_one_line(err: str, message: str) -> None:
    errors = [line for line in err.splitlines() if line.startswith("edgeds: error: ")]
    assert len(errors) == 1 and err.endswith(f"{errors[0]}\n") and "Traceback" not in err
    assert message in errors[0]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(edgeds: InProcess, mistaken: Path, mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    before = sorted(os.listdir(mistaken))
    code, out, err = edgeds(*arguments.split())
    assert (code, out) == (2, "")
    assert_one_line(err, message)
    assert sorted(os.listdir(mistaken)) == before


@pytest.mark.parametrize(
    "mistake", ["a command", "a format", "a broken model", "a broken image", "no bundle", "read-only place"]
)
def test_a_mistake_is_one_line_in_a_process_of_its_own_too(call: Call, mistaken: Path, mistake: str) -> None:
    arguments, message = MISTAKES.get(mistake) or MISTAKES["a read-only place"]
    done = call(*arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, message)


def test_a_library_that_is_missing_is_exit_code_3(
    edgeds: InProcess, monkeypatch: pytest.MonkeyPatch, mistaken: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    code, _, err = edgeds("export", "timm:mobilenetv3_small_050", "--out", "never")
    assert code == 3
    assert_one_line(err, "pip install")


def test_a_bug_in_edgeds_has_an_exit_code_of_its_own_and_shows_where(
    edgeds: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("edgeds.report.inspection.zoo_table", fail)
    code, out, err = edgeds("models")
    assert (code, out) == (70, "")
    assert "in fail\n" in err
    assert err.endswith("edgeds: error: this is a bug in edgeds (ZeroDivisionError); report it with the lines above\n")


@pytest.mark.parametrize("option", ["--weights x.pt", "--calibration photos", "--recipe w8c-a8t-minmax", "--mean 1"])
def test_an_option_that_a_bundle_would_ignore_is_refused(edgeds: InProcess, bundle: Path, option: str) -> None:
    code, _, err = edgeds("export", bundle, *option.split(), "--out", bundle.parent / "other")
    assert code == 2
    assert_one_line(err, f"{option.split()[0]} is for a model, but {bundle} is a bundle, which is quantized already")


def flip_a_byte(bundle: Path) -> None:
    data = bytearray((bundle / "tiny-int8.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "tiny-int8.onnx").write_bytes(data)


def lose_a_file(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()


def add_a_file(bundle: Path) -> None:
    (bundle / "extra.py").write_text("print('run me')")


def cut_the_manifest(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text[: len(text) // 2])


def _edit(bundle: Path, change: Callable[[Any], None]) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    change(content)
    (bundle / "manifest.json").write_text(json.dumps(content))


def point_outside(bundle: Path) -> None:
    def change(content: Any) -> None:
        content["artifacts"][0]["path"] = "../elsewhere.pte"

    _edit(bundle, change)


def list_a_file_outside(bundle: Path) -> None:
    def change(content: Any) -> None:
        content["files"]["/etc/passwd"] = content["files"]["agent.py"]

    _edit(bundle, change)


def unknown_key(bundle: Path) -> None:
    _edit(bundle, lambda content: content.update(note="hello"))


def lenient(bundle: Path) -> None:
    _edit(bundle, lambda content: content["limits"].update(max_runtime_spread_db=-1.0))


def other_limits(bundle: Path) -> None:
    _edit(bundle, lambda content: content["limits"].update(min_int8_sqnr_db=-500.0))


def other_shape(bundle: Path) -> None:
    found = open_bundle(bundle).manifest
    _forge(bundle, replace(found, model=replace(found.model, input_shapes=((1, 3, 2, 2),))))


def other_scale(bundle: Path) -> None:
    found = open_bundle(bundle).manifest
    first, *others = found.quantization
    _forge(bundle, replace(found, quantization=(replace(first, scale=(7.0,)), *others)))


def _forge(bundle: Path, manifest: Manifest) -> None:
    """An edit by somebody who knows how a manifest is sealed."""
    (bundle / "manifest.json").write_bytes(encode(manifest))


def newer(bundle: Path) -> None:
    _edit(bundle, lambda content: content.update(schema_version=99))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "'tiny-int8.onnx' was changed, its sha256 is not the manifest's; copy the bundle again"),
        (lose_a_file, "'labels.txt' is missing, its manifest lists it; copy the bundle again"),
        (add_a_file, "'extra.py' is not listed in its manifest; remove it"),
        (cut_the_manifest, "manifest.json is not JSON, or cut off"),
        (point_outside, "'../elsewhere.pte' cannot be the name of a file in a bundle"),
        (list_a_file_outside, "'/etc/passwd' cannot be the name of a file in a bundle"),
        (unknown_key, "note: "),
        (lenient, "max_runtime_spread_db -1 is no distance; give 0 dB or more"),
        (other_limits, "was changed after it was written: its manifest_sha256 is another; copy the bundle again"),
        (other_shape, "its manifest was changed, model.input_shapes is not that of the programs in reference/; copy"),
        (
            other_scale,
            "its manifest was changed, quantization is not that of the programs in reference/; copy the bundle",
        ),
        (newer, "was made by a newer edgeds (schema_version 99, this one knows 1); upgrade edgeds"),
    ],
)
@pytest.mark.parametrize("command", [("validate",), ("export", "--out", "never")])
def test_a_damaged_bundle_is_refused_in_one_line(
    edgeds: InProcess, bundle: Path, damage: Callable[[Path], None], message: str, command: tuple[str, ...]
) -> None:
    damage(bundle)
    code, out, err = edgeds(command[0], bundle, *command[1:])
    assert (code, out) == (2, "")
    assert_one_line(err, message)


def test_an_existing_bundle_stays_as_it_is_without_force(edgeds: InProcess, bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    code, _, err = edgeds("export", "ds_cnn", "--out", bundle)
    assert code == 2
    assert_one_line(err, f"{bundle} exists; --force replaces it, or choose another --out")
    assert (bundle / "manifest.json").read_bytes() == before
