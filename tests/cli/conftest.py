"""Models as users write them, the command line as users call it, and one bundle that all tests look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from edgeds.cli import main
from edgeds.run import tflite_env
from tests.cli.starting import command

Call = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., tuple[int, str, str]]

BLOCKS = """
import torch
from torch import nn


class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = nn.functional.relu6(self.depthwise_norm(self.depthwise(x)))
        y = torch.relu(self.pointwise_norm(self.pointwise(y)))
        return x + y if self.residual else y
"""
NET = """
from torch import nn

from blocks import Separable

print("a user's file that talks")


def tiny():
    stem = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    net = nn.Sequential(*stem, Separable(8, 16, 2), Separable(16, 16), *head)
    net.input_shape = (1, 3, 32, 32)
    return net


class Best(nn.Module):
    input_shape = (1, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.conv(x).flatten(1).topk(5)[0]
"""
KEYWORDS = """
from torch import nn


class Spotter(nn.Module):
    input_shape = (1, 1, 20, 10)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, (4, 3), 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.classifier = nn.Linear(12, 4)

    def forward(self, x):
        return self.classifier(self.pointwise(self.depthwise(self.stem(x))).mean((2, 3)))
"""
TINY = ("export", "net.py:tiny", "--calibration", "photos", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25")
EXPORT = (*TINY, "--resize", "36", "--labels", "labels.txt", "--precision", "int8,fp32")


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle, and what the command that wrote it said."""

    path: Path
    stdout: str
    stderr: str


def blurred(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: models, a folder of photos, inputs in .npz files, labels."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "keywords").mkdir()
    (folder / "blocks.py").write_text(BLOCKS)
    (folder / "net.py").write_text(NET)
    (folder / "keywords" / "model.py").write_text(KEYWORDS)
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir()
    for k in range(20):
        blurred(rng, (48, 40)).save(photos / f"{k:02}.png")
    pixels = np.stack([np.asarray(blurred(rng, (32, 32))).transpose(2, 0, 1) for _ in range(6)])
    np.savez(folder / "photos.npz", (pixels.astype(np.float32) / 255 - 0.5) / 0.25)
    np.savez(folder / "audio.npz", rng.normal(size=(24, 1, 20, 10)).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with tflite-runtime's environment in it, which takes the longest to build."""
    folder = tmp_path_factory.mktemp("cache")
    tflite_env.interpreter(folder / ".environments")
    return folder


@pytest.fixture(scope="session")
def call(home: Path, cache: Path) -> Call:
    """`python -m edgeds …` in the user's folder."""

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        stdout: int | IO[str] = subprocess.PIPE,
        before: str = "",
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EDGEDS_CACHE": str(cache), "COLUMNS": "200", **(env or {})}
        return subprocess.run(
            command(*arguments, before=before),
            cwd=home,
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def exported(call: Call, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model file with a block file beside it, in every format and precision."""
    path = tmp_path_factory.mktemp("out") / "bundle"
    done = call(*EXPORT, "--out", path)
    assert done.returncode == 0, done.stderr
    return Exported(path, done.stdout, done.stderr)


@pytest.fixture
def bundle(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return Path(shutil.copytree(exported.path, tmp_path / "bundle"))


@pytest.fixture
def edgeds(home: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("EDGEDS_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgeds", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run
