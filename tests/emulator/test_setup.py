"""The image: made of pinned parts, by one of several processes, from what an interrupted one left; and where it cannot be made."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from edgeds.emulator import build, debian, image, mirror, setup, wheels
from edgeds.errors import ToolError
from tests.conftest import Emulator


def test_the_runtimes_are_those_that_run_on_the_host() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in project["dependencies"] if "==" in line)
    for name in ("executorch", "onnxruntime", "ai-edge-litert"):
        assert wheels.version(name) == pins[name]
    assert all(re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) for wheel in wheels.pinned())


@pytest.mark.emulator
def test_of_two_processes_one_makes_the_image_and_both_have_it(emulator: Emulator) -> None:
    assert len(set(emulator.digests)) == 1
    assert sorted("unpacking: done" in said for said in emulator.progress) == [False, True]


@pytest.mark.emulator
def test_nothing_is_left_of_the_interrupted_set_up_nor_of_older_images(emulator: Emulator, image: image.Image) -> None:
    left = {path.name for path in (emulator.cache / ".emulator").iterdir()}
    assert left == {image.path.name, "setup.lock"}


@pytest.mark.emulator
def test_the_manifest_names_every_part_and_its_hash_is_the_digest(emulator: Emulator, image: image.Image) -> None:
    content = (image.path / "manifest.json").read_bytes()
    assert image.digest == emulator.digests[0] == hashlib.sha256(content).hexdigest()
    names = {part.name for part in image.parts}
    assert names == {
        *debian.HOST_PACKAGES,
        *debian.GUEST_PACKAGES,
        *(wheel.name for wheel in wheels.pinned()),
        *build.SOURCES,
    }
    assert all(re.fullmatch(r"[0-9a-f]{64}", part.sha256) for part in image.parts)
    assert json.loads(content)["schema_version"] == 1


@pytest.mark.emulator
def test_the_image_is_lean(image: image.Image) -> None:
    assert image.size_bytes() < 250e6
    assert not list(image.path.rglob("zig"))


@pytest.mark.parametrize("manifest", ["", "{}", '{"parts": [{}]}'])
def test_a_damaged_manifest_counts_as_no_image(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert image.opened(tmp_path) is None


def test_an_image_in_use_is_not_removed_by_another_version_s_set_up(tmp_path: Path) -> None:
    for name in ("image-0", "image-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text('{"parts": []}')
    held = image.opened(tmp_path / "image-0")
    setup.remove_others(tmp_path / "image-2")
    assert held is not None
    assert [path.name for path in tmp_path.iterdir()] == ["image-0"]


def test_a_host_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"^apt-get is missing, .*; use a Debian or Ubuntu host or container$"):
        setup.ensure(mirror_url="http://localhost:1/nothing")


def test_an_archive_that_is_not_reached_is_named_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path))
    with pytest.raises(
        ToolError, match=r"Debian archive file:/nowhere/debian failed: .*; check the network, or give"
    ) as caught:
        setup.ensure(mirror_url="file:/nowhere/debian")
    assert "\n" not in str(caught.value)
    assert image.find() is None


def test_an_archive_that_nobody_signed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / "cache"))
    release = tmp_path / "debian" / "dists" / "bookworm" / "InRelease"
    release.parent.mkdir(parents=True)
    release.write_text("Suite: stable\nCodename: bookworm\nComponents: main\nArchitectures: amd64 arm64\n")
    with pytest.raises(ToolError, match=r"sign"):
        setup.ensure(mirror_url=f"file:{tmp_path}/debian")


@pytest.mark.emulator
def test_where_debian_s_keys_are_missing_they_come_from_the_host_s_own_archive(tmp_path: Path) -> None:
    debian.Archive(tmp_path / "apt", mirror.find(), tmp_path / "no-such-keyring.gpg").update()
    assert "signed-by=" + str(tmp_path / "apt" / "keyring") in (tmp_path / "apt/apt/etc/sources.list").read_text()


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".emulator").write_text("in the way")
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path))
    with pytest.raises(
        ToolError, match=r"^cannot make the emulator's image in .*; free 1 GB there, or set EDGEDS_CACHE"
    ):
        setup.ensure(mirror_url="file:/nowhere")


def test_a_full_disk_is_said_before_the_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path))
    monkeypatch.setattr(setup, "_NEEDED_BYTES", 2**70)
    with pytest.raises(ToolError, match=r"only .* GB are free"):
        setup.ensure(mirror_url="file:/nowhere")
