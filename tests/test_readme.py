"""README's commands and its Python, run as they stand there, in a folder that has the files they name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from tests.bench.photos import calibration_photos, mobilenet_v2_weights, validation_photos
from tests.conftest import Emulator

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MY_MODEL = """
import torch
from torch import nn

from edgeds.models.blocks import DepthwiseSeparableConv


def make():
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 16, 3, 4, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    blocks = [DepthwiseSeparableConv(16, 32, stride=4), DepthwiseSeparableConv(32, 32)]
    net = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    net.input_shape = (1, 3, 224, 224)
    return net
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def blocks(language: str) -> list[str]:
    """The text of each fenced block of README in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[list[str]]:
    """The words behind `program` in each line of README's sh blocks that calls it."""
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == program]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where README's commands are at home: photos, weights and a model of one's own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "new_photos").mkdir()
    calibration_photos(folder / "photos")
    validation_photos(folder / "other_photos")
    for photo in sorted((folder / "other_photos").iterdir())[16:]:  # 16 are enough to see that it runs
        photo.rename(folder / "new_photos" / photo.name)
    for photo in sorted((folder / "new_photos").iterdir())[16:]:
        photo.unlink()
    for photo in (folder / "new_photos").iterdir():  # imagenet_02_438-0.png shows a thing of class 438
        label = folder / "labelled" / photo.stem.split("_")[2].partition("-")[0]
        label.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, label)
    shutil.copy(mobilenet_v2_weights(), folder / mobilenet_v2_weights().name)
    (folder / "my_model.py").write_text(MY_MODEL)
    made: dict[str, Any] = {}
    exec(MY_MODEL, made)  # noqa: S102 - as the command will
    save_file(made["make"]().state_dict(), folder / "my.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, suite_cache: Path, emulator: Emulator) -> Run:
    """Runs Python with these arguments in that folder, with the cache of tests/test_zoo.py, see GROUPS in conftest.py, and the image
    that the emulator's tests use."""
    (suite_cache / ".emulator").symlink_to(emulator.cache / ".emulator")
    environment = {**os.environ, "EDGEDS_CACHE": str(suite_cache)}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize("words", commands("edgeds"), ids=" ".join)
def test_an_edgeds_command_in_readme_does_what_it_says(words: list[str], run: Run, folder: Path) -> None:
    done = run("-m", "edgeds", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "--out" in words:
        assert (folder / words[words.index("--out") + 1] / "manifest.json").is_file()


def test_the_python_in_readme_runs(run: Run, folder: Path) -> None:
    script = next(block for block in blocks("python") if "import edgeds" in block)
    done = run("-c", f"{script}\nassert report.violations == () and len(report.drift) > 3")
    assert done.returncode == 0, done.stderr
    assert (folder / "lite0" / "report.html").is_file()


def test_every_make_target_in_readme_exists() -> None:
    targets = [target for words in commands("make") for target in words]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_demo_in_readme_is_the_command_that_make_demo_runs() -> None:
    done = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "export efficientnet_lite0 --weights pretrained" in done.stdout
    assert "bundle out/efficientnet_lite0" in README
