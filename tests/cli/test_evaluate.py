"""`edgeds evaluate` on the bundle of the command line's tests, in real runtimes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.spec import Runtime

InProcess = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def labelled(home: Path) -> Path:
    """The photos in folders of classes; which is whose class is arbitrary."""
    root = home / "labelled"
    for k, photo in enumerate(sorted((home / "photos").iterdir())[:6]):
        folder = root / ("bee", "dog")[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).symlink_to(photo)
    return root


def test_evaluate_measures_every_artifact_in_every_runtime_and_again_from_the_cache(
    edgeds: InProcess, exported: Any, labelled: Path
) -> None:
    code, out, err = edgeds("evaluate", exported.path, "--data", labelled, "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    subjects = [one["subject"] for one in content["accuracy"]]
    assert subjects[0] == "float" and len(subjects) == 1 + 2 * len(Runtime)
    assert {subject.partition("@")[2] for subject in subjects[1:]} == set(Runtime)
    assert (content["data"]["n_samples"], content["classes"]) == (6, ["ant", "bee", "cat", "dog", "eel"])
    fp32 = [one for one in content["accuracy"] if "-fp32@" in one["subject"]]
    assert all(one["agreement"] == 1 and one["top1"] == content["accuracy"][0]["top1"] for one in fp32)
    code, out, err = edgeds("evaluate", exported.path, "--data", labelled)
    assert code == 0 and "6 labelled samples of labelled" in out and "95 %" in out
    assert any(line.startswith("evaluate: done in ") and "(100% from the cache)" in line for line in err.splitlines())


def test_the_twin_says_what_the_runtimes_answer(edgeds: InProcess, exported: Any, labelled: Path) -> None:
    """It is an ARM64 device's; this net has no sum in which that differs from the host."""

    def found(*flags: str) -> tuple[dict[str, Any], list[Any], list[str]]:
        code, out, _ = edgeds("evaluate", exported.path, "--data", labelled, "--json", *flags)
        content = json.loads(out)
        assert code == 0
        subjects = {one.pop("subject").removesuffix(" (twin)"): one for one in content["accuracy"]}
        said = [{k.removesuffix(" (twin)"): v for k, v in one["said"].items()} for one in content["disagreements"]]
        return subjects, said, content["warnings"]

    real, said, _ = found()
    predicted, said_by_twin, (warning,) = found("--twin")
    assert set(predicted) == {"float", "executorch-int8@executorch", "onnx-int8@onnxruntime", "tflite-int8@litert"}
    assert {name: real[name] for name in predicted} == predicted
    differing = [{name: one[name] for name in predicted} for one in said]
    assert [one for one in differing if len(set(one.values())) > 1] == said_by_twin
    assert warning.startswith("without a twin, and left out: executorch-fp32@executorch, ")


def test_data_that_cannot_be_used_is_one_line(edgeds: InProcess, exported: Any, home: Path, tmp_path: Path) -> None:
    code, _, err = edgeds("evaluate", exported.path, "--data", "photos")
    assert code == 2 and err.splitlines()[-1].startswith(
        "edgeds: error: 00.png lies in no folder of a class of photos; give a"
    )
    code, _, err = edgeds("evaluate", exported.path, "--data", "photos.npz")
    assert code == 2 and "photos.npz has arrays arr_0, no labels; give a folder with" in err
    np.savez(tmp_path / "set.npz", inputs=np.load(home / "photos.npz")["arr_0"], labels=np.array(["ant", "cow"] * 3))
    code, _, err = edgeds("evaluate", exported.path, "--data", tmp_path / "set.npz")
    assert code == 2 and "set.npz: class 'cow' is none of the model's 5 labels (like" in err
