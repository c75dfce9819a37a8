"""load_model: a user's file, package or module, and one clear line for everything that can go wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeds.errors import InputError, ModelError
from edgeds.models import load_model
from edgeds.spec import Preprocess

Refused = Callable[..., str]

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

def uneven():
    module = Net()
    module.input_shapes = [(8, 1, 4, 4), (1, 2)]
    return module

def scalar():
    module = Net()
    module.input_shapes = [(1, 1, 4, 4), ()]
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


def test_a_users_model_may_have_a_batch(folder: Path) -> None:
    assert load_model(f"{folder}/net.py:batched").input_shapes == ((8, 1, 4, 4),)
    assert load_model(f"{folder}/net.py:net", input_shapes=((2, 1, 4, 4),)).input_shapes == ((2, 1, 4, 4),)


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
        ("uneven", "the first axis of each is the batch and must be the same in all"),
        ("scalar", "the first axis of each is the batch and must be the same in all"),
        ("odd_shape", "has input shapes ('224',); use tuples of integers"),
        ("odd_preprocess", "has a preprocess that is a dict; make it an edgeds.spec.Preprocess"),
        ("odd_labels", "has labels that are a list; make them a tuple of strings"),
    ],
)
def test_each_fault_of_a_users_model_gets_one_clear_line(
    folder: Path, name: str, message: str, refused: Refused
) -> None:
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
    tmp_path: Path, source: str, message: str, refused: Refused
) -> None:
    (tmp_path / "bad.py").write_text(source)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    path = list(sys.path)
    assert message in refused(ModelError, f"{tmp_path}/bad.py:net")
    assert sys.path == path
    assert "edgeds_user_bad" not in sys.modules


def test_a_users_file_that_does_not_exist_is_named(tmp_path: Path, refused: Refused) -> None:
    assert "none.py': no such file" in refused(ModelError, f"{tmp_path}/none.py:net")


def test_a_package_path_gives_a_model(package_path: Path, refused: Refused) -> None:
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


def test_a_package_in_the_current_folder_is_found(
    package_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    inside = package_path / "inside"
    inside.mkdir()
    (inside / "my_package.py").write_text("import gone_missing\n")
    monkeypatch.chdir(inside)
    message = refused(ModelError, "my_package:net")
    assert (
        "cannot import 'my_package': my_package.py line 1: ModuleNotFoundError: No module named 'gone_missing'"
        in message
    )


@pytest.mark.parametrize("option", ["width", "num_classes", "input_size"])
def test_zoo_options_are_refused_elsewhere(folder: Path, option: str, refused: Refused) -> None:
    for ref in (f"{folder}/net.py:net", "model.pt2", "timm:x"):
        assert f"--{option.replace('_', '-')} 3 is for zoo models" in refused(InputError, ref, **{option: 3})


def test_pretrained_weights_of_a_users_model_do_not_exist(folder: Path, refused: Refused) -> None:
    assert "no pretrained weights" in refused(ModelError, f"{folder}/net.py:net", weights="pretrained")
