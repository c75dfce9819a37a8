"""Models that are not in the zoo, written as users write them, go through the same command in every format."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeds.bundle import open_bundle
from edgeds.manifest import digest_files
from edgeds.spec import Compute, Format, Precision, Runtime

Call = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., tuple[int, str, str]]

ARCHIVE = """
import torch

from keywords.model import Spotter

torch.manual_seed(3)
batch = {0: torch.export.Dim("batch")}
program = torch.export.export(Spotter().eval(), (torch.zeros(2, 1, 20, 10),), dynamic_shapes=(batch,))
torch.export.save(program, "spotter.pt2")
"""


@pytest.fixture(scope="module")
def package_bundle(call: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory in a package, calibrated on arrays."""
    out = tmp_path_factory.mktemp("package") / "bundle"
    done = call("export", "keywords.model:Spotter", "--calibration", "audio.npz", "--seed", "7", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def assert_complete(bundle: Path, name: str) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest.model.name == name
    assert [(a.format, a.precision) for a in manifest.artifacts] == [(format, Precision.INT8) for format in Format]
    assert all(a.count(Compute.FLOAT32) == 0 for a in manifest.artifacts)
    against_float = {d.subject: d.sqnr_db for d in manifest.drift if d.reference == "float"}
    assert len(against_float) == 1 + len(Runtime)
    assert min(against_float.values()) > 20


def test_a_package_path_gives_int8_artifacts_of_every_format(package_bundle: Path) -> None:
    assert_complete(package_bundle, "Spotter")


def test_a_torch_export_archive_gives_int8_artifacts_of_every_format(call: Call, home: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", ARCHIVE], cwd=home, check=True, capture_output=True)
    done = call("export", "spotter.pt2", "--calibration", "audio.npz", "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "bundle", "spotter")
    assert open_bundle(tmp_path / "bundle").manifest.model.input_shapes == ((1, 1, 20, 10),)


def test_without_the_cache_every_file_comes_out_the_same_to_the_byte(
    call: Call, package_bundle: Path, tmp_path: Path
) -> None:
    arguments = ("export", "keywords.model:Spotter", "--calibration", "audio.npz", "--seed", "7", "--no-cache")
    done = call(*arguments, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "from the cache" not in done.stderr
    names = [*digest_files(package_bundle), "manifest.json"]
    assert sorted(digest_files(tmp_path / "again")) == sorted(names[:-1])
    assert filecmp.cmpfiles(package_bundle, tmp_path / "again", names, shallow=False) == (names, [], [])


def test_validate_without_the_cache_runs_the_artifacts_again_and_finds_the_same(
    edgeds: InProcess, package_bundle: Path
) -> None:
    code, out, _ = edgeds("validate", package_bundle, "--json")
    assert code == 0
    assert json.loads(out)["drift"] == json.loads((package_bundle / "manifest.json").read_text())["drift"]
