"""`--keep-float`: a mixed model in every format and runtime, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edgeds.bundle import open_bundle
from edgeds.recipe import RECIPES
from edgeds.spec import Compute, Format, Runtime
from tests.cli.test_sensitivity import MODEL

InProcess = Callable[..., tuple[int, str, str]]


def test_the_most_costly_layers_stay_in_float_in_every_format(edgeds: InProcess, tmp_path: Path) -> None:
    ranked = json.loads(edgeds("sensitivity", *MODEL, "--json")[1])["layers"]
    code, out, _ = edgeds("export", *MODEL, "--keep-float", "1", "--out", tmp_path / "mixed")
    assert code == 0
    manifest = open_bundle(tmp_path / "mixed").manifest
    assert manifest.recipe is not None and manifest.recipe.startswith(f"{RECIPES['best']}+float:")
    kept = manifest.recipe.partition(":")[2].split(",")
    assert ranked[0]["name"] in kept
    (said,) = [warning for warning in manifest.warnings if warning.startswith("in float: ")]
    assert " dB with all layers in int8 (PT2E graph, 5 samples)" in said and said in " ".join(out.split())
    assert [artifact.format for artifact in manifest.artifacts] == list(Format)
    for artifact in manifest.artifacts:
        assert artifact.outside == ()
        assert artifact.count(Compute.FLOAT32) >= 1, artifact.operators
        assert any("--keep-float leaves " in note for note in artifact.notes), artifact.notes
    against_pt2e = {d.subject: d.sqnr_db for d in manifest.drift if d.reference == "pt2e"}
    assert {subject.partition("@")[2] for subject in against_pt2e} == set(Runtime)
    assert min(against_pt2e.values()) > 30


def test_what_cannot_stay_in_float_is_one_line(edgeds: InProcess, tmp_path: Path) -> None:
    def error(*arguments: str) -> str:
        code, _, err = edgeds("export", *MODEL, "--out", tmp_path / "out", *arguments)
        assert code == 2
        return err.splitlines()[-1]

    near = "(like 3.pointwise, 4.pointwise, 3.depthwise); `edgeds sensitivity` lists all 8"
    assert error("--keep-float", "0,3.pointwize") == f"edgeds: error: no layer is called '3.pointwize' {near}"
    assert error("--keep-float", ",") == (
        "edgeds: error: --keep-float ',' names no layer; give names with commas between, or a number of layers"
    )
    assert error("--keep-float", "99") == (
        "edgeds: error: cannot keep 99 layers in float: the model has 8; give fewer, or --precision fp32 for a float model"
    )
    assert error("--keep-float", "2", "--precision", "fp32") == (
        "edgeds: error: --keep-float '2' is for int8, which --precision leaves out; add int8, or leave --keep-float out"
    )
    assert not (tmp_path / "out").exists()
