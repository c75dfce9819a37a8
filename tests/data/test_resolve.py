"""What the user names becomes samples and warnings; photos and noise where no data is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeds.data import assume_preprocess, assumed_warning, bundled_photos, load_samples, random_samples, resolve
from edgeds.data import resolve as resolve_function
from edgeds.data.images import ImageSize, prepare
from edgeds.data.photos import FILES, VIEWS, photo_folder, view
from edgeds.errors import DataError, InputError
from edgeds.spec import ColorOrder, Preprocess, Samples

SHAPES = ((1, 3, 32, 32),)
AUDIO = ((1, 1, 49, 10),)


@pytest.fixture(scope="module")
def photos() -> Samples:
    return bundled_photos(SHAPES, assume_preprocess(SHAPES[0]))


def test_eight_photos_give_64_different_views(photos: Samples) -> None:
    assert photos.inputs[0].shape == (64, 3, 32, 32) and photos.inputs[0].dtype == np.float32
    assert len({sample.tobytes() for sample in photos.inputs[0]}) == len(set(photos.names)) == 64
    assert [photos.groups.count(file) for file in FILES] == [8] * 8


def test_the_first_view_is_the_models_own_preprocessing_and_the_second_its_mirror_image(photos: Samples) -> None:
    image = Image.open(photo_folder() / "coffee.png")
    row = photos.names.index("coffee.png#0")
    expected = prepare(image, assume_preprocess(SHAPES[0]), ImageSize(3, 32, 32), "x")
    assert np.array_equal(photos.inputs[0][row], expected)
    # a resize is mirrored up to its rounding, an odd crop offset to a pixel: colours agree, places do not
    assert not np.array_equal(photos.inputs[0][row + 1], expected)
    np.testing.assert_allclose(photos.inputs[0][row + 1].mean(), expected.mean(), atol=0.05)


def test_views_lie_inside_the_photo_and_keep_its_aspect_ratio() -> None:
    coordinates = np.stack(np.meshgrid(np.arange(200), np.arange(100)), axis=-1).astype(np.uint8)
    photo = Image.fromarray(np.concatenate([coordinates, np.full((100, 200, 1), 9, np.uint8)], axis=2))
    for index in range(len(VIEWS)):
        part = np.asarray(view(photo, index))
        assert (part[:, :, 2] == 9).all()  # outside of a photo, crop() would fill with 0
        assert part.shape[1] / part.shape[0] == pytest.approx(2, rel=0.02)


def test_photos_are_the_same_every_time(photos: Samples) -> None:
    assert bundled_photos(SHAPES, assume_preprocess(SHAPES[0])).digest == photos.digest


def test_photos_for_a_grey_model_have_one_channel() -> None:
    shape = (1, 1, 16, 24)
    assert bundled_photos((shape,), assume_preprocess(shape)).inputs[0].shape == (64, 1, 16, 24)


def test_skimage_is_found_without_being_imported() -> None:
    code = "import sys; from edgeds.data.photos import photo_folder; photo_folder(); print(sorted({'skimage', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_photos_for_an_audio_model_are_refused_with_its_name_and_the_choices() -> None:
    message = (
        r"^ds_cnn takes \[1, 1, 49, 10\], not photos; give --calibration FILE\.npz with real inputs, "
        r"or --calibration random$"
    )
    with pytest.raises(DataError, match=message):
        resolve(None, "ds_cnn", AUDIO, None)


def test_random_samples_are_standard_normal_and_seeded() -> None:
    samples = random_samples(((1, 3, 32, 32), (1, 7)), n=40, seed=3)
    assert [a.shape for a in samples.inputs] == [(40, 3, 32, 32), (40, 7)]
    assert abs(float(samples.inputs[0].mean())) < 0.02 and abs(float(samples.inputs[0].std()) - 1) < 0.02
    assert samples.digest == random_samples(((1, 3, 32, 32), (1, 7)), n=40, seed=3).digest
    assert samples.digest != random_samples(((1, 3, 32, 32), (1, 7)), n=40, seed=4).digest
    with pytest.raises(InputError, match="ask for at least 1"):
        random_samples(SHAPES, n=0)


def test_nothing_named_means_bundled_photos_with_a_warning(photos: Samples) -> None:
    samples, warnings = resolve(None, "net", SHAPES, assume_preprocess(SHAPES[0]))
    assert samples.digest == photos.digest
    assert len(warnings) == 1
    assert "no --calibration given: using 64 views of 8 photos that ship with scikit-image" in warnings[0]


def test_random_is_noise_with_a_warning() -> None:
    samples, warnings = resolve("random", "ds_cnn", AUDIO, None)
    assert samples.digest == random_samples(AUDIO).digest
    assert len(warnings) == 1 and "cost 11 points" in warnings[0] and "./random" not in warnings[0]


def test_random_wins_over_a_folder_of_that_name(
    tmp_path: Path, folder: Path, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(tmp_path / "random")
    monkeypatch.chdir(tmp_path)
    samples, warnings = resolve("random", "net", SHAPES, preprocess)
    assert samples.source.startswith("random (standard normal") and "say ./random for it" in warnings[0]
    samples, warnings = resolve("./random", "net", SHAPES, preprocess)
    assert len(samples) == 20 and samples.source == "random" and warnings == ()


def test_a_path_with_enough_samples_gives_no_warning(folder: Path, preprocess: Preprocess) -> None:
    samples, warnings = resolve(str(folder), "net", SHAPES, preprocess)
    assert samples.digest == load_samples(folder, SHAPES, preprocess).digest and warnings == ()


def test_fewer_than_16_samples_are_warned_about_with_their_number(folder: Path, preprocess: Preprocess) -> None:
    for i in range(5):
        (folder / f"{i:02}.png").unlink()
    _, warnings = resolve(str(folder), "net", SHAPES, preprocess)
    assert len(warnings) == 1 and "only 15 samples" in warnings[0] and "32-512" in warnings[0]
    np.save(folder / "ok.npy", np.random.default_rng(0).standard_normal((16, 1, 49, 10)))
    assert resolve(str(folder / "ok.npy"), "net", AUDIO, None)[1] == ()


def test_images_of_unread_formats_beside_others_are_warned_about(folder: Path, preprocess: Preprocess) -> None:
    for name in ("a.HEIC", "b.heic", "c.tif", "labels.txt"):
        (folder / name).touch()
    _, warnings = resolve(str(folder), "net", SHAPES, preprocess)
    assert len(warnings) == 1 and "ignored 2 .heic, 1 .tif files" in warnings[0]


def test_more_samples_than_fit_in_memory_are_thinned_with_a_warning(
    folder: Path, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[resolve_function.__module__]
    monkeypatch.setattr(module, "MAX_BYTES", 17 * 4 * 3 * 32 * 32)
    samples, warnings = resolve(str(folder), "net", SHAPES, preprocess)
    assert len(samples) == 17 and len(warnings) == 1 and "used 17 of 20 samples, evenly spaced" in warnings[0]


def test_an_image_model_without_preprocessing_gets_imagenets_and_is_told(folder: Path, photos: Samples) -> None:
    samples, warnings = resolve(None, "net", SHAPES, None)
    assert samples.digest == photos.digest
    assert warnings[1:] == (assumed_warning(assume_preprocess(SHAPES[0])),)
    assert resolve(str(folder), "net", SHAPES, None)[1] == warnings[1:]


def test_arrays_need_no_preprocessing_and_none_is_assumed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((16, 3, 32, 32)))
    assert resolve(str(tmp_path / "a.npy"), "net", SHAPES, None)[1] == ()


def test_the_flag_in_messages_is_the_one_that_was_given(folder: Path, preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"kws takes \[1, 40\], not photos; give --validation FILE\.npz"):
        resolve(str(folder), "kws", ((1, 40),), preprocess, flag="--validation")
    with pytest.raises(DataError, match="--validation is empty"):
        resolve("", "kws", SHAPES, preprocess, flag="--validation")


@pytest.mark.parametrize("path", ["missing", "x" * 5000, "a\0b"])
def test_a_path_that_cannot_exist_is_refused_in_one_line(path: str, preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"does not exist; give a folder of images[^\n]+$"):
        resolve(path, "net", SHAPES, preprocess)


def test_assumed_preprocessing_is_imagenets_scaled_to_the_input() -> None:
    expected = Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert assume_preprocess((1, 3, 224, 224)) == expected
    assert assume_preprocess((1, 3, 96, 192)).resize == 219
    assert assume_preprocess((1, 1, 28, 28)) == Preprocess(32, (0.5,), (0.5,), color_order=ColorOrder.GRAY)
    with pytest.raises(DataError, match=r"shape \[1, 40\] is no image"):
        assume_preprocess((1, 40))


def test_the_warning_about_assumed_preprocessing_names_every_flag() -> None:
    text = assumed_warning(assume_preprocess((1, 3, 224, 224)))
    for flag in (
        "--mean 0.485,0.456,0.406",
        "--std 0.229",
        "--resize 256",
        "--interpolation bilinear",
        "--color-order rgb",
    ):
        assert flag in text
