"""Labelled sets of every kind, read in pieces; and what is wrong with one, in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeds.data import labelled
from edgeds.data.labelled import KINDS, LabelledSet, open_labelled
from edgeds.errors import DataError
from edgeds.spec import Array, ModelCard, Preprocess

CARD = ModelCard(
    "net", "", 0, ((1, 3, 8, 8),), ((1, 3),), Preprocess(8, (0.5,) * 3, (0.25,) * 3), ("ant", "bee", "cat")
)
ARRAYS = replace(CARD, input_shapes=((1, 2, 3),), input_names=("x",), labels=())


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(("cat/a.png", "ant/b.png", "ant/deeper/c.png", "cat/d.png")):
        image(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def everything(found: LabelledSet) -> Array:
    return np.concatenate([piece.load().inputs[0] for piece in found.pieces()])


def error(path: Path, card: ModelCard = CARD) -> str:
    with pytest.raises(DataError) as raised:
        found = open_labelled(path, card, 3)
        everything(found)
    return str(raised.value)


def test_a_folder_of_a_folder_a_class_is_read_in_the_order_of_its_names(photos: Path) -> None:
    found = open_labelled(photos, CARD, 3)
    assert found.names == ("ant/b.png", "ant/deeper/c.png", "cat/a.png", "cat/d.png")
    assert (found.labels.tolist(), found.source, found.warnings) == ([0, 0, 2, 2], "photos", ())
    pixels = np.asarray(Image.open(photos / "ant" / "b.png")).transpose(2, 0, 1)
    np.testing.assert_allclose(everything(found)[0], (pixels / 255 - 0.5) / 0.25, atol=1e-6)


def test_a_limit_takes_samples_of_every_part(photos: Path) -> None:
    found = open_labelled(photos, CARD, 3, limit=2)
    assert (found.names, found.labels.tolist()) == (("ant/b.png", "cat/a.png"), [0, 2])
    assert len(everything(found)) == 2


@pytest.mark.parametrize("heading", ["", "path,label\n", "Filename,Class\n"])
def test_a_csv_file_names_files_relative_to_itself_with_their_labels(photos: Path, heading: str) -> None:
    table = photos.parent / "set.csv"
    table.write_text(f"{heading}photos/cat/a.png,cat\nphotos/ant/b.png, ant\n\n")
    found = open_labelled(table, CARD, 3)
    assert (found.names, found.labels.tolist()) == (("photos/cat/a.png", "photos/ant/b.png"), [2, 0])
    np.testing.assert_array_equal(everything(found), everything(open_labelled(photos, CARD, 3))[[2, 0]])


def test_pieces_join_to_the_same_samples_whatever_their_size(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = everything(open_labelled(photos, CARD, 3))
    monkeypatch.setattr(labelled, "PIECE_SAMPLES", 3)
    found = open_labelled(photos, CARD, 3)
    assert [len(piece.load()) for piece in found.pieces()] == [3, 1]
    np.testing.assert_array_equal(everything(found), whole)


def test_a_piece_is_told_by_what_is_in_its_files_and_how_they_are_prepared(photos: Path) -> None:
    def digest(card: ModelCard = CARD) -> str:
        (piece,) = open_labelled(photos, card, 3).pieces()
        return piece.digest

    before = digest()
    assert digest() == before
    assert digest(replace(CARD, preprocess=Preprocess(8, (0.4,) * 3, (0.25,) * 3))) != before
    image(photos / "ant" / "b.png", 99)
    assert digest() != before


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[Path, Array]:
    values = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)
    return tmp_path / "set.npz", values


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_row_by_row(arrays: tuple[Path, Array], save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, values = arrays
    save(path, inputs=values, labels=np.arange(10) % 3)
    monkeypatch.setattr(labelled, "PIECE_SAMPLES", 4)
    found = open_labelled(path, ARRAYS, 3)
    assert [len(piece.load()) for piece in found.pieces()] == [4, 4, 2]
    np.testing.assert_array_equal(everything(found), values)
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] and found.names[9] == "set.npz#9"
    some = open_labelled(path, ARRAYS, 3, limit=3)
    np.testing.assert_array_equal(everything(some), values[[0, 3, 6]])
    assert some.names == ("set.npz#0", "set.npz#3", "set.npz#6")


def test_arrays_of_several_inputs_have_the_names_of_the_models(arrays: tuple[Path, Array]) -> None:
    path, values = arrays
    card = replace(ARRAYS, input_shapes=((1, 2, 3), (1, 2, 3)), input_names=("left", "right"))
    np.savez(path, right=values + 1, labels=np.zeros(10, int), left=values)
    (piece,) = open_labelled(path, card, 3).pieces()
    np.testing.assert_array_equal(piece.load().inputs[0], values)
    np.testing.assert_array_equal(piece.load().inputs[1], values + 1)


def test_labels_of_arrays_may_be_names(arrays: tuple[Path, Array]) -> None:
    path, values = arrays
    np.savez(path, values, labels=np.array(["bee", "cat"] * 5))
    found = open_labelled(path, replace(ARRAYS, labels=CARD.labels), 3)
    assert found.labels.tolist() == [1, 2] * 5


def test_what_is_wrong_with_arrays_is_one_line(arrays: tuple[Path, Array]) -> None:
    path, values = arrays
    labels = np.zeros(10, int)
    np.savez(path, inputs=values)
    assert error(path, ARRAYS) == f"{path} has arrays inputs, no labels; give {KINDS}"
    np.savez(path, inputs=values, labels=labels[1:])
    assert error(path, ARRAYS).startswith(f"{path} has labels of shape [9] for inputs of [10] samples; give one label")
    np.savez(path, inputs=values, labels=labels + 3)
    assert error(path, ARRAYS) == "set.npz has class 3, but the model has classes 0 to 2; mend its labels"
    np.savez(path, inputs=values, labels=labels / 2)
    assert error(path, ARRAYS) == "set.npz has labels of type float64; give whole numbers, or names"
    np.savez(path, inputs=values.transpose(0, 2, 1).copy(), labels=labels)
    assert error(path, ARRAYS).startswith(f"{path} has shape [10, 3, 2] but the model needs [N, 2, 3]")
    np.savez(path, inputs=np.asfortranarray(values), labels=labels)
    assert "its values do not lie row by row; save numpy.ascontiguousarray of it" in error(path, ARRAYS)
    np.savez(path, inputs=np.array([object()] * 10), labels=labels)
    assert "it holds pickled objects, which are never loaded" in error(path, ARRAYS)
    values[7, 1, 1] = np.nan
    np.savez(path, inputs=values, labels=labels)
    assert error(path, ARRAYS).startswith(f"{path}#7 has 1 values that are NaN, Inf or too large for float32")
    path.write_bytes(path.read_bytes()[:100])
    assert error(path, ARRAYS).startswith(f"cannot read {path}: File is not a zip file; save plain numbers")


def test_what_is_wrong_with_images_is_one_line(photos: Path) -> None:
    table = photos.parent / "set.csv"
    table.write_text("photos/cat/a.png,cat\nphotos/cat/z.png,cat\n")
    assert error(table) == f"{table}, line 2: there is no file 'photos/cat/z.png' in {photos.parent}; mend that line"
    table.write_text("photos/cat/a.png\n")
    assert error(table) == f"{table}, line 1, has 1 columns; each line is path,label"
    table.write_text("path,label\n")
    assert error(table) == f"{table} holds 0 samples; give a line path,label for each"
    assert error(photos / "no") == f"{photos / 'no'} does not exist; give {KINDS}"
    assert error(photos / "cat" / "a.png") == f"{photos / 'cat' / 'a.png'} has no labels; give {KINDS}"
    assert error(photos / "ant").startswith(f"b.png lies in no folder of a class of {photos / 'ant'}; give a folder")
    (photos / "cat").rename(photos / "bees")
    assert error(photos).startswith("photos: class 'bees' is none of the model's 3 labels (like bee); ")


def test_values_that_are_no_numbers_are_found_before_the_first_piece_is_given(
    arrays: tuple[Path, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "PIECE_SAMPLES", 2)
    path, values = arrays
    values[9, 0, 0] = np.inf
    np.savez(path, x=values, labels=np.zeros(len(values), np.int64))
    with pytest.raises(DataError, match=r"set\.npz#9 has 1 values that are NaN, Inf or too large for float32; mend or"):
        open_labelled(path, ARRAYS, 3)
