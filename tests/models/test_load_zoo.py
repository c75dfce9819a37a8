"""load_model: zoo models and torch.export archives."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeds.errors import InputError, ModelError
from edgeds.models import load_model
from edgeds.models.zoo import ZOO
from edgeds.spec import Interpolation, Preprocess

Refused = Callable[..., str]


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


def test_an_input_shape_sets_a_zoo_models_size(refused: Refused) -> None:
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


def test_a_misspelled_zoo_name_lists_the_zoo_and_the_closest(refused: Refused) -> None:
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
def test_a_reference_of_no_known_form_says_what_it_might_be(ref: str, message: str, refused: Refused) -> None:
    assert message in refused(ModelError, ref)


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


def test_an_archives_dynamic_batch_becomes_1_and_other_dynamic_sizes_must_be_given(
    tmp_path: Path, refused: Refused
) -> None:
    batch, height = torch.export.Dim("batch"), torch.export.Dim("height", min=4, max=64)
    assert load_model(str(archive(tmp_path / "a.pt2", dynamic={0: batch}))).input_shapes == ((1, 3, 8, 8),)
    both = str(archive(tmp_path / "b.pt2", dynamic={0: batch, 2: height}))
    assert "give --input-shape" in refused(ModelError, both)
    assert load_model(both, input_shapes=((1, 3, 16, 8),)).input_shapes == ((1, 3, 16, 8),)


def test_an_archive_in_training_mode_is_refused(tmp_path: Path, refused: Refused) -> None:
    message = refused(ModelError, str(archive(tmp_path / "model.pt2", train=True)))
    assert "was exported in training mode (aten.dropout.default); export model.eval() instead" in message


@pytest.mark.parametrize("content", [None, b"", b"not a zip file"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes | None, refused: Refused) -> None:
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
def test_an_archive_that_would_have_to_be_unpickled_executes_nothing(
    tmp_path: Path, entry: str, refused: Refused
) -> None:
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


def test_an_archive_with_custom_objects_is_refused_unread(tmp_path: Path, refused: Refused) -> None:
    path = archive(tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr("model/data/constants/custom_obj_0", b"anything")
    assert "holds pickled Python objects, which are not loaded" in refused(ModelError, str(path))


def test_a_zip_file_that_is_no_archive_is_refused(tmp_path: Path, refused: Refused) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt2")
    assert "cannot load the torch.export archive" in refused(ModelError, str(tmp_path / "model.pt2"))
