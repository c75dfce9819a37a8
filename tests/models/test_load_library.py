"""load_model: models of torchvision and timm, by packages that are shaped like them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeds.errors import ModelError, ToolError
from edgeds.models import load_model
from edgeds.process import run_process
from edgeds.spec import Interpolation, Preprocess

Refused = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]

TORCHVISION = """
from enum import Enum
from types import SimpleNamespace
from torch import nn

class Mode(Enum):
    BILINEAR = "bilinear"

class Weights:
    url = "https://example.org/tiny-12345678.pth"
    meta = {"categories": ["cat", "dog"]}
    def transforms(self):
        sizes = {"crop_size": [224], "resize_size": [232]}
        return SimpleNamespace(**sizes, mean=[0.1] * 3, std=[0.2] * 3, interpolation=Mode.BILINEAR)

class Detection(Weights):
    def transforms(self):
        return SimpleNamespace()

def list_models():
    return ["tiny_net", "detector", "offline"]

def tiny_net(*, weights=None):
    pass

def detector(*, weights=None, weights_backbone="ImageNet"):
    pass

def get_model_builder(name):
    return detector if name == "detector" else tiny_net

def get_model_weights(name):
    return SimpleNamespace(DEFAULT=Detection() if name == "detector" else Weights())

def get_model(name, weights=None, **options):
    if name == "offline" and weights is not None or (name == "detector" and options != {"weights_backbone": None}):
        raise OSError("no network")
    if name != "detector" and options:
        raise TypeError("unexpected options")
    net = nn.Conv2d(3, 2, 1)
    if weights is not None:
        nn.init.ones_(net.weight)
    return net
"""

TIMM = """
from torch import nn

def list_models():
    return ["tiny_net", "odd", "squashed"]

def create_model(name, pretrained=False):
    net = nn.Conv2d(3, 2, 1)
    net.pretrained_cfg = {
        "input_size": (3, 240, 240), "crop_pct": 0.875, "interpolation": "random" if name == "odd" else "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "hf_hub_id": "timm/tiny_net.in1k", "url": "",
    }
    if name == "squashed":
        net.pretrained_cfg.update(crop_mode="squash", crop_pct=1.0)
    return net
"""


@pytest.fixture
def libraries(package_path: Path) -> None:
    """Packages shaped like torchvision and timm."""
    (package_path / "torchvision/models").mkdir(parents=True)
    (package_path / "torchvision/__init__.py").write_text("")
    (package_path / "torchvision/models/__init__.py").write_text(TORCHVISION)
    (package_path / "timm.py").write_text(TIMM)


@pytest.mark.usefixtures("libraries")
def test_torchvision_gives_the_model_and_its_weights_preprocessing() -> None:
    seeded = load_model("torchvision:tiny_net", seed=7)
    assert (seeded.name, seeded.weights, seeded.seeded, seeded.labels) == ("tiny_net", "seeded (7)", True, ())
    assert seeded.input_shapes == ((1, 3, 224, 224),)
    assert seeded.preprocess == Preprocess(232, (0.1,) * 3, (0.2,) * 3, Interpolation.BILINEAR)
    trained = load_model("torchvision:tiny_net", weights="pretrained")
    assert (trained.weights, trained.seeded) == ("pretrained: tiny-12345678.pth", False)
    assert trained.labels == ("cat", "dog")
    assert trained.module.state_dict()["weight"].eq(1).all()


@pytest.mark.usefixtures("libraries")
def test_timm_gives_the_model_and_its_configs_preprocessing() -> None:
    model = load_model("timm:tiny_net", weights="pretrained")
    assert (model.weights, model.seeded) == ("pretrained: timm/tiny_net.in1k", False)
    assert model.input_shapes == ((1, 3, 240, 240),)
    assert model.preprocess == Preprocess(274, (0.5,) * 3, (0.25,) * 3, Interpolation.BICUBIC)


@pytest.mark.usefixtures("libraries")
def test_another_input_shape_resizes_photos_in_proportion_so_that_the_model_sees_as_much_of_them() -> None:
    resizes = {
        ref: [load_model(ref, input_shapes=((1, 3, h, w),)).preprocess for h, w in ((112, 112), (480, 240))]
        for ref in ("torchvision:tiny_net", "timm:tiny_net")
    }
    assert {ref: [p and p.resize for p in both] for ref, both in resizes.items()} == {
        "torchvision:tiny_net": [116, 497],  # 232 for 224
        "timm:tiny_net": [128, 548],  # 274 for 240
    }


@pytest.mark.usefixtures("libraries")
def test_a_timm_model_that_squashes_photos_has_no_resize_of_the_short_side() -> None:
    preprocess = load_model("timm:squashed").preprocess
    assert preprocess is not None and preprocess.resize == 0


@pytest.mark.usefixtures("libraries")
def test_a_detector_with_random_weights_downloads_none_for_its_backbone() -> None:
    model = load_model("torchvision:detector", input_shapes=((1, 3, 64, 64),))
    assert (model.weights, model.input_shapes) == ("seeded (0)", ((1, 3, 64, 64),))


@pytest.mark.parametrize(
    ("ref", "shape", "parameters"),
    [
        ("timm:mobilenetv1_100", "1x3x224x224", "4,231,976"),
        ("torchvision:mobilenet_v3_large", "1x3x224x224", "5,483,032"),
    ],
)
def test_the_real_libraries_models_are_loaded(ref: str, shape: str, parameters: str) -> None:
    # in a process of its own: the packages that are shaped like them must not meet the real ones
    command = [sys.executable, "-m", "tests.bench.external_models", "inspect", ref]
    done = run_process(command, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert f"input {shape}, {parameters} parameters" in done.stdout


@pytest.mark.usefixtures("libraries")
def test_each_fault_of_a_librarys_model_gets_one_clear_line(refused: Refused) -> None:
    assert "torchvision has no model 'tiny'; closest are tiny_net" in refused(ModelError, "torchvision:tiny")
    assert "timm has no model 'tinynet'; closest are tiny_net" in refused(ModelError, "timm:tinynet")
    assert "give --input-shape" in refused(ModelError, "torchvision:detector")
    assert "preprocessed with 'random' interpolation" in refused(ModelError, "timm:odd")
    offline = refused(ToolError, "torchvision:offline", weights="pretrained")
    assert "cannot fetch the weights of 'offline' (OSError: no network); give --weights FILE" in offline


def test_an_installed_library_that_does_not_import_is_a_tool_error(package_path: Path, refused: Refused) -> None:
    (package_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    message = refused(ToolError, "timm:tiny_net")
    assert "does not import (RuntimeError: operator torchvision::nms does not exist)" in message


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_is_a_tool_error_with_the_pip_line(
    library: str, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, library).exists()])
    assert f"is not installed; pip install {library}" in refused(ToolError, f"{library}:mobilenet_v2")
