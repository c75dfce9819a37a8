"""A photo to write in every format, and the preprocessing that most tests use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeds.spec import Preprocess


@pytest.fixture
def photo() -> Image.Image:
    """A 60x40 RGB image of noise: every pixel tells its place."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture
def preprocess() -> Preprocess:
    """For inputs of 32x32."""
    return Preprocess(36, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`photos`, with 20 different images in it."""
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(1)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / f"{i:02}.png")
    return root
