"""Rewrites and quantization keep the accuracy of trained nets, in every runtime; and that the nets are trained as they should be."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeds.cache import Cache
from edgeds.errors import ToolError
from edgeds.process import Finished
from edgeds.run.tflite_env import VERSIONS
from edgeds.spec import Format, Runtime
from tests.bench.coverage_row import Cell
from tests.bench.trained_table import HEADER, line
from tests.trained import fashion, training
from tests.trained.accuracy import Int8, Row, measure, subject_of
from tests.trained.ds_cnn import WEIGHTS, FashionDSCNN
from tests.trained.fashion import FILES, Fashion, fashion_mnist
from tests.trained.nets import MobileNetV3

# One of the six that are trained: each takes minutes to train, lower and run. `make bench-trained` measures all.
NAMES = ["MobileNetV3"]


@dataclass(frozen=True, slots=True)
class Expected:
    """All in percent: the least accuracy of the float net, the most of it that int8 may cost, and how many answers must be the float net's."""

    accuracy: float
    most_lost: float
    agreement: float


# A net that gets few images right says little about what quantization costs. Other processors add up in another order than this one and train
# slightly other nets.
EXPECTED: dict[type[torch.nn.Module], Expected] = {
    FashionDSCNN: Expected(accuracy=90.0, most_lost=0.1, agreement=99.5),
    MobileNetV3: Expected(accuracy=88.5, most_lost=0.1, agreement=99.0),
}

Net = type[torch.nn.Module]
Rows = Callable[[Net], Row]


@pytest.fixture(scope="session")
def data() -> Fashion:
    return fashion_mnist()


@pytest.fixture(scope="session")
def row_of(data: Fashion, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The row of a net; what is trained is, or is found in the cache, when the first is asked for."""

    @cache
    def weights() -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("weights")
        with Cache() as store:
            made = {name: Path(shutil.copy(path, folder)) for name, path in training.trained(NAMES, store).items()}
        return {**made, FashionDSCNN.__name__: WEIGHTS}

    rows: dict[Net, Row] = {}

    def row(net: Net) -> Row:
        if net not in rows:
            tested = subject_of(net, weights()[net.__name__], data)
            rows[net] = measure(tested, tmp_path_factory.mktemp(net.__name__))
        return rows[net]

    return row


@pytest.mark.parametrize("net", EXPECTED)
def test_a_trained_net_is_good_enough_for_its_accuracy_to_mean_something(net: Net, row_of: Rows) -> None:
    row = row_of(net)
    assert row.n_images == 10_000
    assert row.accuracy >= EXPECTED[net].accuracy


@pytest.mark.parametrize("net", EXPECTED)
def test_int8_keeps_a_trained_nets_accuracy_in_every_runtime(net: Net, row_of: Rows) -> None:
    row = row_of(net)
    least = row.accuracy - EXPECTED[net].most_lost
    assert {found.runtime: found.accuracy for found in row.int8 if found.accuracy < least} == {}


@pytest.mark.parametrize("net", EXPECTED)
def test_int8_answers_as_the_trained_float_net_in_every_runtime(net: Net, row_of: Rows) -> None:
    agreement = {found.runtime: found.agreement for found in row_of(net).int8}
    assert {runtime: same for runtime, same in agreement.items() if same < EXPECTED[net].agreement} == {}


@pytest.mark.parametrize("net", EXPECTED)
def test_a_trained_net_was_measured_in_every_runtime_that_this_python_has(net: Net, row_of: Rows) -> None:
    measured = {found.runtime for found in row_of(net).int8}
    assert measured >= set(Runtime) - {Runtime.TFLITE_RUNTIME}
    assert Runtime.TFLITE_RUNTIME in measured or sys.version_info[:2] not in VERSIONS


@pytest.mark.parametrize("net", EXPECTED)
def test_a_trained_net_is_integer_from_end_to_end_but_for_what_a_note_names(net: Net, row_of: Rows) -> None:
    cells = row_of(net).cells
    assert {cell.format for cell in cells} == set(Format)
    assert {cell.format: cell.leftovers for cell in cells if cell.leftovers} == {}


def test_the_card_of_the_weights_in_the_repository_is_of_these_weights() -> None:
    content, card = WEIGHTS.read_bytes(), WEIGHTS.with_suffix(".md").read_text()
    assert hashlib.sha256(content).hexdigest() in card
    assert f"{len(content):,} bytes" in card and len(content) < 300_000


def test_fashion_mnist_has_as_many_images_of_each_class(data: Fashion) -> None:
    assert data.train.images.shape == (60_000, 1, 28, 28) and data.test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(data.train.labels).tolist() == [6_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10


def test_pixels_are_normalized(data: Fashion) -> None:
    assert abs(data.train.images.mean()) < 0.01
    assert abs(data.train.images.std() - 1) < 0.01


def test_training_gives_the_same_weights_whatever_was_drawn_before(data: Fashion) -> None:
    torch.rand(3)
    first = training.train(MobileNetV3, data.train, steps=3).state_dict()
    torch.rand(5)
    again = training.train(MobileNetV3, data.train, steps=3).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_every_image_is_trained_on_once_before_any_comes_again() -> None:
    part = fashion.Part(np.arange(600, dtype=np.float32).reshape(-1, 1, 1, 1), np.arange(600))
    labels = torch.cat([labels for _, labels in training._batches(part, 9)]).tolist()
    assert sorted(labels[:600]) == list(range(600))
    assert len(labels) == 9 * training.BATCH


@pytest.fixture
def trained_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nets whose training began; it writes an empty file."""
    names: list[str] = []

    def run(command: list[str], env: dict[str, str]) -> Finished:
        names.append(command[-2])
        Path(command[-1]).touch()
        return Finished(tuple(command), 0, "", "")

    monkeypatch.setattr(training, "run_process", run)
    return names


def test_a_net_is_trained_once_and_then_found_in_the_cache(tmp_path: Path, trained_names: list[str]) -> None:
    for _ in range(2):
        with Cache(tmp_path) as store:
            files = training.trained(NAMES, store)
            assert [files[name].name for name in NAMES] == [f"{name}.safetensors" for name in NAMES]
            assert all(file.is_file() for file in files.values())
    assert sorted(trained_names) == sorted(NAMES)


def test_other_code_trains_anew(tmp_path: Path, trained_names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Cache(tmp_path) as store:
        training.trained(NAMES[:1], store)
        monkeypatch.setattr(training, "CODE", training.CODE[:-1])
        training.trained(NAMES[:1], store)
    assert trained_names == NAMES[:1] * 2


def test_a_training_that_fails_says_why_and_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Finished(("python",), 1, "", "MemoryError\n")
    monkeypatch.setattr(training, "run_process", lambda *_, **__: failed)
    with (
        Cache(tmp_path) as store,
        pytest.raises(ToolError, match=r"^training MobileNetV3 failed with exit code 1: MemoryError; the command was"),
    ):
        training.trained(NAMES[:1], store)
    assert list((tmp_path / "trained").iterdir()) == []


NEXT_STEP = f"; put {', '.join(FILES)} into a folder and set FASHION_MNIST to it"
CANNOT = "cannot download Debian's package dataset-fashion-mnist: "


def test_a_machine_without_apt_is_told_where_to_put_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(ToolError) as raised:
        fashion.download(tmp_path)
    assert str(raised.value) == f"{CANNOT}this machine has no apt-get{NEXT_STEP}"


def test_a_download_that_fails_is_one_line_with_apts_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    failed = Finished(("apt-get",), 100, "", "E: Failed to fetch it\n")
    monkeypatch.setattr(fashion, "run_process", lambda command: failed)
    with pytest.raises(ToolError) as raised:
        fashion.download(tmp_path)
    assert str(raised.value) == f"{CANNOT}E: Failed to fetch it{NEXT_STEP}"


def test_a_machine_whose_apt_knows_no_packages_gets_private_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    commands: list[list[str]] = []

    def run(command: list[str]) -> Finished:
        commands.append(command)
        return Finished(tuple(command), 100 if len(commands) == 1 else 0, "", "E: Unable to locate package\n")

    monkeypatch.setattr(fashion, "run_process", run)
    assert fashion._download(tmp_path).returncode == 0
    private = f"Dir::State::lists={tmp_path}/lists"
    assert [private in command for command in commands] == [False, True, True]
    assert commands[1][-1] == "update" and commands[2][-2:] == ["download", "dataset-fashion-mnist"]


def test_files_of_ones_own_are_taken_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(ToolError, match=r"^cannot read Fashion-MNIST in .*No such file or directory: '.*'; put train-"):
        fashion_mnist()
    for name in FILES:
        (tmp_path / name).write_bytes(gzip.compress(bytes(16)))
    with pytest.raises(ToolError, match=r"^the files in .* are not Fashion-MNIST as published; put train-images"):
        fashion_mnist()


def test_every_line_of_the_table_has_the_headers_columns() -> None:
    int8 = (Int8(Runtime.EXECUTORCH, 90.0, 99.0), Int8(Runtime.ONNXRUNTIME, 90.2, 98.5))
    left = (Cell(Format.ONNX, ("float Mul x1",), ("Gelu x3",)),)
    rows = [Row("Net", 20_000, 10_000, 90.1, int8, ()), Row("Net", 20_000, 10_000, 90.1, int8, left)]
    columns = HEADER.splitlines()[0].count("|")
    assert {line(row).count("|") for row in rows} == {columns}
    assert "onnx: float Mul x1, onnx: (Gelu x3)" in line(rows[1]) and "90.20 / 98.50" in line(rows[1])
