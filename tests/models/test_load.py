"""load_model: every form of reference, and one clear line for everything that can go wrong."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeds.errors import EdgedsError, InputError, ModelError, ToolError
from edgeds.models import load_model
from edgeds.models.zoo import ZOO
from edgeds.spec import Interpolation, Preprocess

NET = """
from torch import nn
from blocks import block
from edgeds.spec import Model, Preprocess

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(block(), nn.Flatten())
        self.input_shape = (1, 1, 4, 4)

def net():
    return Net()

def labelled():
    module = Net()
    module.preprocess = Preprocess(8, (0.5,), (0.5,))
    module.labels = ["a", "b"]
    return module

def as_model():
    return Model("mine", Net(), ((1, 1, 5, 5),), "trained by me")

def lazy():
    from late import EXTRA
    return Net()

def shapeless():
    return nn.Conv2d(1, 2, 3)

def half():
    return Net().half()

def meta():
    return Net().to("meta")

def nan():
    module = Net()
    nn.init.constant_(module[0].weight, float("nan"))
    return module

def batched():
    module = Net()
    module.input_shape = (8, 1, 4, 4)
    return module

def odd_shape():
    module = Net()
    module.input_shape = "224"
    return module

def odd_preprocess():
    module = Net()
    module.preprocess = {"mean": 0.5}
    return module

def odd_labels():
    module = Net()
    module.labels = [1, 2]
    return module

def with_arguments(width, depth=3):
    return Net()

def failing():
    raise ValueError("no luck\\ntoday")

def text():
    return "a net"

instance = Net()
number = 3
"""
NET_LINE_OF_FAILURE = NET.splitlines().index('    raise ValueError("no luck\\ntoday")') + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "blocks.py").write_text("from torch import nn\ndef block():\n    return nn.Conv2d(1, 2, 3)\n")
    (tmp_path / "late.py").write_text("EXTRA = 1\n")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture
def package_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; what is imported from it is forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "timm", "my_package"):
            del sys.modules[name]


def refused(kind: type[EdgedsError], ref: str, /, **options: object) -> str:
    """The message of the error that loading raises; it must be one line."""
    with pytest.raises(kind) as e:
        load_model(ref, **options)  # type: ignore[arg-type]  # wrong arguments are what is tested
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 500
    return str(e.value)


def test_importing_the_models_imports_no_torch() -> None:
    code = "import sys, edgeds.models; edgeds.models.ZOO; edgeds.models.load_model; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", list(ZOO))
def test_a_zoo_model_is_loaded_ready_for_export(name: str) -> None:
    model = load_model(name, width=0.25)
    assert (model.name, model.weights, model.seeded) == (name, "seeded (0)", True)
    assert model.input_shapes == (ZOO[name].input_shape,)
    assert model.preprocess == ZOO[name].preprocess
    assert len(model.labels) == (12 if name == "ds_cnn" else 0)
    assert not any(part.training for part in model.module.modules())
    assert not any(p.requires_grad for p in model.module.parameters())


def test_the_zoos_preprocessing_is_the_papers() -> None:
    found = {name: entry.preprocess for name, entry in ZOO.items()}
    imagenet = Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), Interpolation.BILINEAR)
    assert found["mobilenet_v1"] == Preprocess(256, (0.5,) * 3, (0.5,) * 3)
    assert found["mobilenet_v2"] == found["mobilenet_v3_small"] == found["mobilenet_v3_large"] == imagenet
    lite = found["efficientnet_lite0"]
    assert lite == Preprocess(256, (127 / 255,) * 3, (128 / 255,) * 3, Interpolation.BICUBIC)
    assert [(x / 255 - lite.mean[0]) / lite.std[0] for x in (0, 127, 255)] == pytest.approx([-127 / 128, 0.0, 1.0])
    assert found["ds_cnn"] is None


def test_a_zoo_models_input_size_scales_the_resize_and_its_classes_drop_the_labels() -> None:
    small = load_model("mobilenet_v2", width=0.25, input_size=96, num_classes=5)
    assert small.input_shapes == ((1, 3, 96, 96),)
    assert small.preprocess is not None
    assert small.preprocess.resize == 110  # 256 / 224 of 96
    assert small.module(torch.zeros(1, 3, 96, 96)).shape == (1, 5)
    audio = load_model("ds_cnn", num_classes=3, input_size=98)
    assert (audio.input_shapes, audio.labels) == (((1, 1, 98, 10),), ())


def test_an_input_shape_sets_a_zoo_models_size() -> None:
    model = load_model("mobilenet_v1", width=0.25, input_shapes=((1, 3, 128, 192),))
    assert model.input_shapes == ((1, 3, 128, 192),)
    assert model.preprocess is not None
    assert model.preprocess.resize == 146
    assert "takes 3 channels, not 1" in refused(ModelError, "mobilenet_v1", input_shapes=((1, 1, 64, 64),))
    assert "takes one input like 1,3,224,224" in refused(ModelError, "mobilenet_v1", input_shapes=((1, 3),))
    both = refused(InputError, "mobilenet_v1", input_shapes=((1, 3, 64, 64),), input_size=64)
    assert "both given; give one" in both


def test_what_the_user_gives_replaces_what_the_model_brings() -> None:
    mine = Preprocess(40, (0.1,) * 3, (0.2,) * 3)
    model = load_model("mobilenet_v1", width=0.25, preprocess=mine, labels=("a", "b"))
    assert (model.preprocess, model.labels) == (mine, ("a", "b"))


def test_seeds_make_a_zoo_models_weights() -> None:
    a, b, c = (load_model("ds_cnn", seed=seed).module.state_dict()["stem.weight"] for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert load_model("ds_cnn", seed=3).weights == "seeded (3)"


def test_a_weights_file_replaces_seeded_weights(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(load_model("ds_cnn", seed=9).module.state_dict(), path)
    model = load_model("ds_cnn", weights=str(path))
    assert not model.seeded
    assert model.weights.startswith("mine.pt, sha256 ")
    assert torch.equal(model.module.state_dict()["stem.weight"], torch.load(path)["stem.weight"])


def test_a_misspelled_zoo_name_lists_the_zoo_and_the_closest() -> None:
    message = refused(ModelError, "mobilnet_v2")
    assert "unknown model 'mobilnet_v2'; did you mean 'mobilenet_v2'?" in message
    assert all(name in message for name in ZOO)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("net.py", "name it: net.py:factory"),
        ("weights.pth", "holds weights, not a model; name the model and give --weights weights.pth"),
        ("", "unknown model ''"),
        (":", "unknown model ':'"),
        ("zzz", "choose from mobilenet_v1"),
    ],
)
def test_a_reference_of_no_known_form_says_what_it_might_be(ref: str, message: str) -> None:
    assert message in refused(ModelError, ref)


@pytest.mark.parametrize("name", ["net", "Net", "instance", "lazy"])
def test_a_users_file_gives_a_factory_a_class_or_an_instance(folder: Path, name: str) -> None:
    path, modules = list(sys.path), set(sys.modules)
    model = load_model(f"{folder}/net.py:{name}")
    assert sys.path == path
    assert not {"blocks", "late", "net"} & (set(sys.modules) - modules)
    assert (model.name, model.input_shapes) == (name, ((1, 1, 4, 4),))
    assert (model.weights, model.seeded) == ("as the factory made them", False)
    assert not model.module.training
    assert model.module(torch.zeros(1, 1, 4, 4)).shape == (1, 8)
    torch.export.export(model.module, (torch.zeros(1, 1, 4, 4),))


def test_a_users_module_brings_its_preprocessing_and_labels(folder: Path) -> None:
    model = load_model(f"{folder}/net.py:labelled")
    assert (model.preprocess, model.labels) == (Preprocess(8, (0.5,), (0.5,)), ("a", "b"))


def test_a_factory_may_return_an_edgeds_model(folder: Path) -> None:
    model = load_model(f"{folder}/net.py:as_model")
    assert (model.name, model.weights, model.input_shapes) == ("mine", "trained by me", ((1, 1, 5, 5),))


def test_two_folders_may_have_siblings_of_the_same_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "blocks.py").write_text("from torch import nn\ndef block():\n    return nn.Conv2d(1, 7, 3)\n")
    (other / "net.py").write_text(NET)
    models = [load_model(f"{where}/net.py:net") for where in (folder, other)]
    assert [model.module(torch.zeros(1, 1, 4, 4)).shape[1] for model in models] == [8, 28]


def test_a_factorys_random_weights_repeat_with_the_seed(folder: Path) -> None:
    first, again, other = (load_model(f"{folder}/net.py:net", seed=s).module.state_dict() for s in (1, 1, 2))
    assert torch.equal(first["0.weight"], again["0.weight"])
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_weights_go_into_a_users_model(folder: Path) -> None:
    path = folder / "w.safetensors"
    from safetensors.torch import save_file

    save_file({"0.weight": torch.ones(2, 1, 3, 3), "0.bias": torch.zeros(2)}, path)
    model = load_model(f"{folder}/net.py:net", weights=str(path))
    assert model.module(torch.ones(1, 1, 4, 4)).eq(9).all()
    assert model.weights.startswith("w.safetensors, sha256 ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nett", "has no 'nett'; did you mean 'net'? choose from Net, as_model"),
        ("number", "is a int; give a factory"),
        ("with_arguments", "needs arguments (width); name a function that needs none"),
        ("failing", f"failed: net.py line {NET_LINE_OF_FAILURE}: ValueError: no luck today"),
        ("text", "returned a str; return an nn.Module"),
        ("shapeless", "is unknown; give --input-shape 1,3,224,224"),
        ("half", "has '0.weight' in float16; return the model with .float()"),
        ("meta", "has '0.weight' on meta; return the model with .to('cpu')"),
        ("nan", "has NaN or infinite numbers in '0.weight'"),
        ("batched", "input of shape (8, 1, 4, 4); models are exported for a batch of 1"),
        ("odd_shape", "has input shapes ('224',); use tuples of integers"),
        ("odd_preprocess", "has a preprocess that is a dict; make it an edgeds.spec.Preprocess"),
        ("odd_labels", "has labels that are a list; make them a tuple of strings"),
    ],
)
def test_each_fault_of_a_users_model_gets_one_clear_line(folder: Path, name: str, message: str) -> None:
    path = list(sys.path)
    assert message in refused(ModelError, f"{folder}/net.py:{name}")
    assert sys.path == path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nimport no_such_thing\n", "bad.py line 2: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1\n\ny = x +\n", "bad.py line 3: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(4)\n", "bad.py line 2: SystemExit: 4"),
        ("import broken\n", "broken.py line 1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_users_file_that_does_not_import_names_the_line_and_the_exception(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "bad.py").write_text(source)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    path = list(sys.path)
    assert message in refused(ModelError, f"{tmp_path}/bad.py:net")
    assert sys.path == path
    assert "edgeds_user_bad" not in sys.modules


def test_a_users_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert "none.py': no such file" in refused(ModelError, f"{tmp_path}/none.py:net")


def test_a_package_path_gives_a_model(package_path: Path) -> None:
    (package_path / "my_package").mkdir()
    (package_path / "my_package/__init__.py").write_text("")
    (package_path / "my_package/net.py").write_text(NET.replace("from blocks", "from my_package.blocks"))
    (package_path / "my_package/blocks.py").write_text(
        "from torch import nn\ndef block():\n    return nn.Conv2d(1, 2, 3)\n"
    )
    assert load_model("my_package.net:net").input_shapes == ((1, 1, 4, 4),)
    instance = load_model("my_package.net:instance").module
    assert instance is not sys.modules["my_package.net"].instance  # the package's own stays as it was
    assert sys.modules["my_package.net"].instance.training
    assert f"net.py line {NET_LINE_OF_FAILURE}: ValueError" in refused(ModelError, "my_package.net:failing")
    assert "no Python module 'my_package.other'" in refused(ModelError, "my_package.other:net")
    assert "no Python module 'no_package'" in refused(ModelError, "no_package.net:net")


def test_a_package_in_the_current_folder_is_found(package_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = package_path / "inside"
    inside.mkdir()
    (inside / "my_package.py").write_text("import gone_missing\n")
    monkeypatch.chdir(inside)
    message = refused(ModelError, "my_package:net")
    assert (
        "cannot import 'my_package': my_package.py line 1: ModuleNotFoundError: No module named 'gone_missing'"
        in message
    )


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.conv(x)).mean((2, 3))
        return y


def archive(path: Path, *, train: bool = False, dynamic: dict[int, object] | None = None) -> Path:
    shapes = (dynamic,) if dynamic else None
    module = Dropping().train(train)
    torch.export.save(
        torch.export.export(module, (torch.zeros(2 if dynamic else 1, 3, 8, 8),), dynamic_shapes=shapes), path
    )
    return path


def test_an_exported_archive_is_loaded_with_its_shapes(tmp_path: Path) -> None:
    model = load_model(str(archive(tmp_path / "model.pt2")))
    assert (model.name, model.input_shapes) == ("model", ((1, 3, 8, 8),))
    assert model.weights.startswith("model.pt2, sha256 ")
    assert not any(part.training for part in model.module.modules())
    assert not any(p.requires_grad for p in model.module.parameters())
    torch.export.export(model.module, (torch.zeros(1, 3, 8, 8),))


def test_an_archives_dynamic_batch_becomes_1_and_other_dynamic_sizes_must_be_given(tmp_path: Path) -> None:
    batch, height = torch.export.Dim("batch"), torch.export.Dim("height", min=4, max=64)
    assert load_model(str(archive(tmp_path / "a.pt2", dynamic={0: batch}))).input_shapes == ((1, 3, 8, 8),)
    both = str(archive(tmp_path / "b.pt2", dynamic={0: batch, 2: height}))
    assert "give --input-shape" in refused(ModelError, both)
    assert load_model(both, input_shapes=((1, 3, 16, 8),)).input_shapes == ((1, 3, 16, 8),)


def test_an_archive_in_training_mode_is_refused(tmp_path: Path) -> None:
    message = refused(ModelError, str(archive(tmp_path / "model.pt2", train=True)))
    assert "was exported in training mode (aten.dropout.default); export model.eval() instead" in message


@pytest.mark.parametrize("content", [None, b"", b"not a zip file"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pt2"
    if content is not None:
        path.write_bytes(content)
    message = refused(ModelError, str(path))
    assert ("no such file" if content is None else "is not a torch.export archive") in message


class Danger:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("entry", ["sample_inputs/", "weights/weight"])
def test_an_archive_that_would_have_to_be_unpickled_executes_nothing(tmp_path: Path, entry: str) -> None:
    buffer, proof = io.BytesIO(), tmp_path / "executed"
    torch.save(Danger(proof), buffer)
    source, poisoned = archive(tmp_path / "source.pt2"), tmp_path / "poisoned.pt2"
    replaced = 0
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(poisoned, "w") as new:
        for name in old.namelist():
            hit = f"/{entry}" in name and not name.endswith(".json")
            replaced += hit
            content = old.read(name).replace(b'"use_pickle": false', b'"use_pickle": true')
            new.writestr(name, buffer.getvalue() if hit else content)
    assert replaced
    assert "cannot load the torch.export archive" in refused(ModelError, str(poisoned))
    assert not proof.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_an_archive_with_custom_objects_is_refused_unread(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("model/data/constants/custom_obj_0", b"anything")
    assert "holds pickled Python objects, which are not loaded" in refused(ModelError, str(path))


def test_a_zip_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt2")
    assert "cannot load the torch.export archive" in refused(ModelError, str(tmp_path / "model.pt2"))


@pytest.mark.parametrize("option", ["width", "num_classes", "input_size"])
def test_zoo_options_are_refused_elsewhere(folder: Path, option: str) -> None:
    for ref in (f"{folder}/net.py:net", "model.pt2", "timm:x"):
        assert f"{option} 3 is for zoo models" in refused(InputError, ref, **{option: 3})


def test_pretrained_weights_of_a_users_model_do_not_exist(folder: Path) -> None:
    assert "no pretrained weights" in refused(ModelError, f"{folder}/net.py:net", weights="pretrained")


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

def get_model_weights(name):
    return SimpleNamespace(DEFAULT=Detection() if name == "detector" else Weights())

def get_model(name, weights=None):
    if name == "offline" and weights is not None:
        raise OSError("no network")
    net = nn.Conv2d(3, 2, 1)
    if weights is not None:
        nn.init.ones_(net.weight)
    return net
"""

TIMM = """
from torch import nn

def list_models():
    return ["tiny_net", "odd"]

def create_model(name, pretrained=False):
    net = nn.Conv2d(3, 2, 1)
    net.pretrained_cfg = {
        "input_size": (3, 240, 240), "crop_pct": 0.875, "interpolation": "random" if name == "odd" else "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "hf_hub_id": "timm/tiny_net.in1k", "url": "",
    }
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
def test_each_fault_of_a_librarys_model_gets_one_clear_line() -> None:
    assert "torchvision has no model 'tiny'; closest are tiny_net" in refused(ModelError, "torchvision:tiny")
    assert "timm has no model 'tinynet'; closest are tiny_net" in refused(ModelError, "timm:tinynet")
    assert "give --input-shape" in refused(ModelError, "torchvision:detector")
    assert "preprocessed with 'random' interpolation" in refused(ModelError, "timm:odd")
    offline = refused(ToolError, "torchvision:offline", weights="pretrained")
    assert "cannot fetch the weights of 'offline' (OSError: no network); give --weights FILE" in offline


def test_an_installed_library_that_does_not_import_is_a_tool_error(package_path: Path) -> None:
    (package_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    message = refused(ToolError, "timm:tiny_net")
    assert "does not import (RuntimeError: operator torchvision::nms does not exist)" in message


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_is_a_tool_error_with_the_pip_line(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not Path(p, library).exists()])
    assert f"is not installed; pip install {library}" in refused(ToolError, f"{library}:mobilenet_v2")
