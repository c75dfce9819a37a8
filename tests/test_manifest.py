"""manifest.json: what survives the round trip, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeds import spec
from edgeds.errors import BundleError
from edgeds.manifest import MAX_BYTES, check_names, decode, digest_files, encode, looks_like_a_bundle, read_manifest

BYTES = b"an artifact"
SHA256 = hashlib.sha256(BYTES).hexdigest()


def sample() -> spec.Manifest:
    preprocess = spec.Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), spec.Interpolation.BICUBIC)
    return spec.Manifest(
        schema_version=1,
        edgeds_version="0.1.0",
        model=spec.ModelCard("tiny", "seeded", 10, ((1, 3, 8, 8),), ((1, 2),), preprocess, ("Käse", "鳥")),
        recipe="w8c-a8t-histogram",
        calibration=spec.DataCard("photos", 16, "ab"),
        validation=spec.DataCard("photos", 4, "cd"),
        quantization=(spec.TensorQuantization("x", "features.0", "int8", -128, 127, (0.1, 1e-9), (0, -3), None),),
        artifacts=(
            spec.Artifact(
                format=spec.Format.ONNX,
                precision=spec.Precision.INT8,
                path=Path("sub/model.onnx"),
                sha256=SHA256,
                size_bytes=len(BYTES),
                layout=spec.Layout.NCHW,
                operators=(spec.OperatorCount("QLinearConv", spec.Compute.INT8, 3),),
                delegates=0,
                outside=(),
                notes=("a note",),
                toolchain=("onnx 1.23.2",),
            ),
        ),
        drift=(
            spec.DriftReport("onnx-fp32@onnxruntime", "float", 4, math.inf, 1.0, 0.0, None),
            spec.DriftReport("onnx-int8@onnxruntime", "pt2e", 4, -math.inf, math.nan, 0.25, 0.75, ((0, 7), (1, 1))),
        ),
        limits=spec.DriftLimits(max_runtime_spread_db=math.inf),
        warnings=("few samples",),
        files={"z.txt": spec.FileDigest("0" * 64, 0), "sub/model.onnx": spec.FileDigest(SHA256, len(BYTES))},
    )


def changed(change: Callable[[Any], object]) -> bytes:
    raw = json.loads(encode(sample()))
    change(raw)
    return json.dumps(raw).encode()


def refusal(text: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        decode(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "manifest.json" in message
    return message


def test_everything_survives_the_round_trip_and_gives_the_same_bytes() -> None:
    again = decode(encode(sample()))
    assert encode(again) == encode(sample())
    assert again.model == sample().model
    assert again.artifacts == sample().artifacts
    assert again.quantization == sample().quantization
    assert again.drift[0] == sample().drift[0]
    assert again.drift[1].sqnr_db == -math.inf
    assert math.isnan(again.drift[1].cosine)
    assert again.limits == sample().limits


def test_the_bytes_are_plain_json_with_sorted_files_and_schema_version_first() -> None:
    text = encode(sample())
    raw = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert next(iter(raw)) == "schema_version"
    assert list(raw["files"]) == ["sub/model.onnx", "z.txt"]
    assert text.startswith(b'{\n  "schema_version": 1,\n')
    assert text.endswith(b"\n}\n")
    assert "鳥".encode() in text


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["limits"].update(min_int8_sqnr_db=-500.0),
        lambda raw: raw["drift"][0].update(sqnr_db=99.0),
        lambda raw: raw.update(warnings=[]),
        lambda raw: raw.update(seeded=not raw["seeded"]),
        lambda raw: raw["artifacts"][0].update(delegates=7),
        lambda raw: raw.pop("manifest_sha256"),
        lambda raw: raw.update(manifest_sha256="0" * 64),
    ],
)
def test_a_manifest_that_was_edited_is_refused(change: Callable[[Any], object]) -> None:
    assert "was changed after it was written: its manifest_sha256 is another" in refusal(changed(change))


def test_a_manifest_may_be_formatted_anew() -> None:
    assert decode(changed(lambda raw: None)).model == sample().model


def test_a_newer_schema_asks_for_an_upgrade() -> None:
    message = refusal(changed(lambda raw: raw.update(schema_version=2, something_new=1)))
    assert "made by a newer edgeds (schema_version 2, this one knows 1); upgrade edgeds" in message


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_schema_version_that_never_was_is_refused(version: object) -> None:
    assert "schema_version" in refusal(changed(lambda raw: raw.update(schema_version=version)))


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"null", b"{}", b"\xff\xfe{", b"\x80\x04K\x01.", b"[" * 100_000])
def test_what_is_no_manifest_at_all_is_refused(text: bytes) -> None:
    refusal(text)


def test_a_manifest_cut_off_at_any_place_is_refused() -> None:
    text = encode(sample())
    for length in range(0, len(text) - 2, 37):
        refusal(text[:length])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda raw: raw.update(extra=1), "extra"),
        (lambda raw: raw["model"].update(extra=1), "model.extra"),
        (lambda raw: raw["files"]["z.txt"].update(extra=1), "files.z.txt.extra"),
        (lambda raw: raw.pop("drift"), "drift"),
        (lambda raw: raw["model"].update(parameters="10"), "model.parameters"),
        (lambda raw: raw["model"].update(parameters=10.5), "model.parameters"),
        (lambda raw: raw["artifacts"][0].update(format="onx"), "artifacts.0.format"),
        (lambda raw: raw["artifacts"][0].update(size_bytes=True), "artifacts.0.size_bytes"),
        (lambda raw: raw["artifacts"][0].update(path=7), "artifacts.0.path"),
        (lambda raw: raw.update(artifacts={}), "artifacts"),
        (lambda raw: raw.update(artifacts=["x"]), "artifacts.0"),
        (lambda raw: raw.update(limits=None), "limits"),
        (lambda raw: raw.update(drift=7), "drift"),
        (lambda raw: raw["drift"][0].update(sqnr_db="38.5"), "drift.0.sqnr_db"),
        (lambda raw: raw["drift"][0].update(n_inputs="Infinity"), "drift.0.n_inputs"),
        (lambda raw: raw["quantization"][0].update(scale=["Infinity"]), "quantization.0.scale.0"),
        (lambda raw: raw["model"].update(name="\ud800"), "hex escape"),
        (lambda raw: raw.update({"two\nlines": 1}), "two\\nlines"),
    ],
)
def test_an_unknown_key_or_a_wrong_type_is_named_with_its_place(change: Callable[[Any], object], place: str) -> None:
    assert place in refusal(changed(change))


def test_the_dataclasses_check_what_they_are_given() -> None:
    assert "standard deviations" in refusal(changed(lambda raw: raw["model"]["preprocess"].update(std=[1, 1, -1])))
    assert "no sha256" in refusal(changed(lambda raw: raw["files"]["z.txt"].update(sha256="F" * 64)))
    assert "-1 bytes" in refusal(changed(lambda raw: raw["files"]["z.txt"].update(size_bytes=-1)))


def test_a_key_that_stands_there_twice_is_refused() -> None:
    assert "'warnings' stands there twice" in refusal(encode(sample()).replace(b"{", b'{"warnings": [],', 1))


def test_numbers_that_are_no_json_are_refused() -> None:
    assert "Infinity is not JSON" in refusal(encode(sample()).replace(b'"Infinity"', b"Infinity", 1))


OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "./a",
    "a/.",
    "a/",
    "",
    ".",
    "..",
    "C:x",
    "a\\b",
    "\\\\h\\s",
    "a\0b",
    "a\nb",
]


@pytest.mark.parametrize("name", [*OUTSIDE, "manifest.json", "\udc80"])
def test_a_file_outside_the_bundle_is_refused_by_its_name(name: str) -> None:
    def change(raw: Any) -> None:
        raw["files"][name] = {"sha256": "0" * 64, "size_bytes": 0}

    assert repr(name) in refusal(changed(change)) or "hex escape" in refusal(changed(change))


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_artifact_outside_the_bundle_is_refused_by_its_path(name: str) -> None:
    assert repr(name) in refusal(changed(lambda raw: raw["artifacts"][0].update(path=name)))


@pytest.mark.parametrize(
    "names",
    [
        ("Model.onnx", "model.ONNX"),
        ("a/x", "A/y"),
        ("straße", "STRASSE"),
        ("\u00e9.txt", "e\u0301.txt"),
        ("Manifest.JSON",),
    ],
)
def test_names_that_a_phone_takes_for_one_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BundleError, match="one file on many phones"):
        check_names(names, "here")


def test_ordinary_names_are_accepted() -> None:
    check_names(["a", "b/c.d", "b/c.e", "..a", ".hidden", "Käse 2.txt", "a..b/c"], "here")


@pytest.mark.parametrize("key", ["sha256", "size_bytes", "path"])
def test_an_artifact_that_contradicts_the_list_of_files_is_refused(key: str) -> None:
    other = {"sha256": "0" * 64, "size_bytes": 1, "path": "z.txt"}[key]
    assert "onnx-int8" in refusal(changed(lambda raw: raw["artifacts"][0].update({key: other})))


def test_read_manifest_takes_the_folder_or_the_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(encode(sample()))
    assert read_manifest(tmp_path).files == read_manifest(tmp_path / "manifest.json").files == sample().files


def one_line_refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_manifest_or_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder without manifest.json" in one_line_refusal(tmp_path)
    assert "No such file" in one_line_refusal(tmp_path / "none")
    assert "two\\nlines" in one_line_refusal(tmp_path / "two\nlines")
    assert "null byte" in one_line_refusal(tmp_path / "a\0b")
    assert "too long" in one_line_refusal(tmp_path / ("n" * 300))


def test_a_manifest_over_64_mb_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "manifest.json", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "larger than 64 MB" in one_line_refusal(tmp_path)


def test_a_manifest_that_is_a_link_a_pipe_or_a_folder_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    (tmp_path / "elsewhere").write_bytes(encode(sample()))
    manifest.symlink_to("elsewhere")
    assert "symbolic link" in one_line_refusal(tmp_path)
    manifest.unlink()
    os.mkfifo(manifest)  # opening it would wait for ever
    assert "not an ordinary file" in one_line_refusal(tmp_path)
    manifest.unlink()
    manifest.mkdir()
    assert "not an ordinary file" in one_line_refusal(tmp_path)


def test_digest_files_is_exact_and_sorted_and_leaves_out_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.onnx").write_bytes(BYTES)
    (tmp_path / "a").touch()
    (tmp_path / "manifest.json").touch()
    empty = spec.FileDigest(hashlib.sha256(b"").hexdigest(), 0)
    found = digest_files(tmp_path)
    assert list(found.items()) == [("a", empty), ("sub/model.onnx", spec.FileDigest(SHA256, len(BYTES)))]


def test_only_a_manifest_of_edgeds_looks_like_a_bundle(tmp_path: Path) -> None:
    assert not looks_like_a_bundle(tmp_path)
    for text, expected in [
        (encode(sample()), True),
        (b'{"schema_version": 9, "edgeds_version": "7"}', True),
        (b'{"schema_version": 1, "name": "of another program"}', False),
        (b'{"schema_version": 1', False),
        (b"[]", False),
        (b"", False),
    ]:
        (tmp_path / "manifest.json").write_bytes(text)
        assert looks_like_a_bundle(tmp_path) is expected


def test_equal_manifests_give_equal_bytes_whatever_the_order_of_their_files() -> None:
    backwards = replace(sample(), files=dict(reversed(sample().files.items())))
    assert encode(backwards) == encode(sample())
