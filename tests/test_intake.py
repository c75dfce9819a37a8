from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeds.errors import DataError, InputError
from edgeds.intake import SEEDED_WARNING, take_in
from edgeds.spec import Model, Preprocess


class Told:
    """A progress that remembers steps and warnings."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def start(self, step: str, total: int = 0) -> None:
        self.steps.append(step)

    def update(self, step: str, done: int) -> None:
        raise AssertionError("nothing here is counted")

    def finish(self, step: str, note: str = "") -> None:
        assert step == self.steps[-1]

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def model(**changes: Any) -> Model:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        module = nn.Sequential(*layers, nn.Linear(4, 3)).eval()
    given: dict[str, Any] = {"preprocess": Preprocess(16, (0.5,) * 3, (0.5,) * 3)} | changes
    return Model("small", module, ((1, 3, 16, 16),), "mine", **given)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(16):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{k:02}.png")
    return folder


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    np.save(tmp_path / "inputs.npy", np.random.default_rng(1).normal(size=(20, 3, 16, 16)).astype(np.float32))
    return tmp_path / "inputs.npy"


@pytest.fixture(autouse=True)
def _harmless() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export tells of its own deprecations
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_a_quarter_of_the_samples_is_held_out_and_never_calibrated_on(photos: Path) -> None:
    told = Told()
    source, calibration = take_in(model(), str(photos), None, told)
    assert (len(calibration), len(source.validation)) == (12, 4)
    assert not set(calibration.names) & set(source.validation.names)
    assert (told.steps, told.warnings, source.warnings) == (["load the data", "capture the model"], [], ())
    assert (source.card.name, source.card.output_shapes, source.seeded) == ("small", ((1, 3),), False)


def test_a_validation_set_of_its_own_leaves_the_calibration_whole(photos: Path, arrays: Path) -> None:
    source, calibration = take_in(model(), str(photos), str(arrays), Told())
    assert (len(calibration), len(source.validation), source.validation.source) == (16, 20, "inputs.npy")


def test_validating_on_what_was_calibrated_on_is_a_warning_that_names_a_sample(photos: Path) -> None:
    told = Told()
    source, _ = take_in(model(), str(photos), str(photos), told)
    text = "--validation: 16 of 16 samples are also calibrated on (like 00.png); drift on them looks too good"
    assert told.warnings == list(source.warnings) == [text]


def test_a_model_without_preprocessing_gets_the_usual_one_and_a_warning(photos: Path) -> None:
    source, _ = take_in(model(preprocess=None), str(photos), None, Told())
    assert source.card.preprocess is not None and source.card.preprocess.mean == (0.485, 0.456, 0.406)
    assert [w.startswith("the model says not how its photos are prepared") for w in source.warnings] == [True]


@pytest.mark.parametrize("calibration", ["arrays", "random"])
def test_nothing_is_assumed_of_photos_where_none_are_read(arrays: Path, calibration: str) -> None:
    source, _ = take_in(model(preprocess=None), str(arrays) if calibration == "arrays" else "random", None, Told())
    assert source.card.preprocess is None
    assert [w.split(":")[0] for w in source.warnings] == ([] if calibration == "arrays" else ["--calibration random"])


def test_random_weights_are_told_and_get_statistics_from_the_data(arrays: Path) -> None:
    seeded = model(seeded=True)
    before = seeded.module[1].running_mean.clone()  # type: ignore[index]  # a Sequential's BatchNorm
    told = Told()
    source, _ = take_in(seeded, str(arrays), None, told)
    assert told.warnings == [SEEDED_WARNING] and source.seeded
    assert not (seeded.module[1].running_mean == before).all()  # type: ignore[index]  # likewise


def test_trained_statistics_stay_as_they_are(arrays: Path) -> None:
    trained = model()
    take_in(trained, str(arrays), None, Told())
    assert (trained.module[1].running_mean == 0).all()  # type: ignore[index]  # likewise


@pytest.mark.parametrize("n_labels", [2, 4])
def test_labels_that_do_not_fit_the_output_are_refused(arrays: Path, n_labels: int) -> None:
    labels = tuple("abcd"[:n_labels])
    message = f"^small answers with 3 scores, but there are {n_labels} labels; give --labels with as many lines"
    with pytest.raises(InputError, match=message):
        take_in(model(labels=labels), str(arrays), None, Told())
    assert take_in(model(labels=("a", "b", "c")), str(arrays), None, Told())[0].card.labels == ("a", "b", "c")


def test_data_of_another_shape_is_refused_before_the_model_is_captured(tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32))
    told = Told()
    with pytest.raises(DataError, match=r"wrong\.npy has shape \[20, 3, 8, 8\] but the model needs \[N, 3, 16, 16\]"):
        take_in(model(), str(tmp_path / "wrong.npy"), None, told)
    assert told.steps == ["load the data"]
