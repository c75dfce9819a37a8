"""Which files of a folder are samples, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeds.data import load_samples
from edgeds.data.folder import list_images
from edgeds.data.images import ImageSize, prepare
from edgeds.errors import DataError
from edgeds.spec import Preprocess

SHAPES = ((1, 3, 32, 32),)


def test_images_are_found_below_too_sorted_by_relative_path(tmp_path: Path, photo: Image.Image) -> None:
    for name in ("b/1.PNG", "b.png", "a/z/2.JPeG", "a/10.webp", "a/9.bmp", ".hidden.png", ".git/x.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / name, format="PNG")
    listing = list_images(tmp_path)
    assert [p.as_posix() for p in listing.images] == ["a/10.webp", "a/9.bmp", "a/z/2.JPeG", "b.png", "b/1.PNG"]
    assert listing.ignored == ((".txt", 1),)


def test_a_folder_becomes_one_sample_and_group_a_photo(folder: Path, preprocess: Preprocess) -> None:
    samples = load_samples(folder, SHAPES, preprocess)
    assert samples.inputs[0].shape == (20, 3, 32, 32) and samples.inputs[0].dtype == np.float32
    assert samples.names == samples.groups == tuple(f"{i:02}.png" for i in range(20))
    assert samples.source == "photos"
    expected = prepare(Image.open(folder / "07.png"), preprocess, ImageSize(3, 32, 32), "x")
    assert np.array_equal(samples.inputs[0][7], expected)


def test_the_same_folder_has_the_same_digest_and_another_file_changes_it(folder: Path, preprocess: Preprocess) -> None:
    first = load_samples(folder, SHAPES, preprocess)
    assert load_samples(folder, SHAPES, preprocess).digest == first.digest
    (folder / "00.png").unlink()
    assert load_samples(folder, SHAPES, preprocess).digest != first.digest


def test_a_limit_is_spread_over_the_whole_folder(folder: Path, preprocess: Preprocess) -> None:
    samples = load_samples(folder, SHAPES, preprocess, limit=4)
    assert samples.names == ("00.png", "05.png", "10.png", "15.png")


def test_one_image_file_is_one_sample(folder: Path, preprocess: Preprocess) -> None:
    samples = load_samples(folder / "03.png", SHAPES, preprocess)
    assert samples.names == ("03.png",) and samples.source == "03.png" and samples.inputs[0].shape == (1, 3, 32, 32)


def test_a_folder_without_images_says_what_it_found(tmp_path: Path, preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"no image in .* \(found nothing\); give a folder with \.jpg, "):
        load_samples(tmp_path, SHAPES, preprocess)
    for name in ("a.TIF", "b.tif", "c.wav", "LICENSE"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"\(found 2 \.tif, 1 \.wav, 1 no suffix\)"):
        load_samples(tmp_path, SHAPES, preprocess)


def test_a_folder_named_like_an_image_is_searched(tmp_path: Path, photo: Image.Image, preprocess: Preprocess) -> None:
    (tmp_path / "x.jpg").mkdir()
    photo.save(tmp_path / "x.jpg" / "y.png")
    assert load_samples(tmp_path, SHAPES, preprocess).names == ("x.jpg/y.png",)
    assert load_samples(tmp_path / "x.jpg", SHAPES, preprocess).names == ("y.png",)


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path, folder: Path, preprocess: Preprocess) -> None:
    linked = tmp_path / "set"
    linked.mkdir()
    (linked / "cats").symlink_to(folder)
    (folder / "back").symlink_to(linked)
    assert load_samples(linked, SHAPES, preprocess).names[:2] == ("cats/00.png", "cats/01.png")
    assert len(load_samples(linked, SHAPES, preprocess)) == 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("05a.jpg", b"", r"photos/05a\.jpg: not a JPEG, PNG"),
        ("05a.jpg", None, r"photos/05a\.jpg: No such file"),
        ("05a.png", b"\x89PNG\r\n\x1a\n", r"photos/05a\.png"),
    ],
)
def test_one_bad_file_among_good_ones_is_named(
    folder: Path, preprocess: Preprocess, name: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (folder / name).symlink_to(folder / "gone")
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_samples(folder, SHAPES, preprocess)


def test_a_constant_photo_in_a_folder_is_named(folder: Path, preprocess: Preprocess) -> None:
    Image.new("RGB", (50, 50), (1, 2, 3)).save(folder / "flat.bmp")
    with pytest.raises(DataError, match=r"photos/flat\.bmp is constant"):
        load_samples(folder, SHAPES, preprocess)


def test_names_that_are_no_utf8_stay_printable(tmp_path: Path, photo: Image.Image, preprocess: Preprocess) -> None:
    photo.save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.path.join(os.fsencode(tmp_path), b"\xff.png"))
    samples = load_samples(tmp_path, SHAPES, preprocess)
    assert samples.names == (r"\xff.png",) and samples.names[0].encode()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"missing does not exist; give a folder of images, or a file of \.jpg, .*\.npz, \.npy"),
        ("missing.npz", r"missing\.npz does not exist"),
        ("notes.txt", r"notes\.txt is no data that edgeds reads"),
    ],
)
def test_a_path_that_is_no_data_is_refused(tmp_path: Path, preprocess: Preprocess, name: str, message: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=message):
        load_samples(tmp_path / name, SHAPES, preprocess)


def test_photos_for_a_model_that_takes_none_are_refused(folder: Path, preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"takes \[1, 3\] and \[1, 2, 2\], not photos; give --calibration FILE\.npz"):
        load_samples(folder, ((1, 3), (1, 2, 2)), preprocess)
