"""Decoding, resize, crop and normalization, against explicit Pillow calls."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeds.data.images import ImageSize, check_preprocess, photo_size, photo_target, prepare, read_image
from edgeds.errors import DataError, InputError
from edgeds.spec import ColorOrder, Interpolation, Preprocess

RGB, BGR, GRAY = ColorOrder.RGB, ColorOrder.BGR, ColorOrder.GRAY
SIZE = ImageSize(3, 32, 32)
PLAIN = Preprocess(0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def same(image: Image.Image, pixels: Image.Image) -> bool:
    return image.mode == pixels.mode and bool(np.array_equal(np.asarray(image), np.asarray(pixels)))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp"])
def test_lossless_files_are_read_pixel_by_pixel(tmp_path: Path, photo: Image.Image, name: str) -> None:
    photo.save(tmp_path / name, lossless=True)
    assert same(read_image(tmp_path / name, RGB), photo)


def test_a_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.jpg")
    assert same(read_image(tmp_path / "a.jpg", RGB), Image.open(tmp_path / "a.jpg").convert("RGB"))


def test_a_phones_jpeg_with_a_second_picture_inside_is_read(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[photo.rotate(90)])
    with Image.open(tmp_path / "a.jpg") as both:
        assert both.format == "MPO"
        assert same(read_image(tmp_path / "a.jpg", RGB), both.convert("RGB"))


UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_orientation_turns_a_photo_upright(
    tmp_path: Path, photo: Image.Image, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / name, exif=exif, lossless=True)
    stored = Image.open(tmp_path / name).convert("RGB")
    method = UPRIGHT[orientation]
    assert same(read_image(tmp_path / name, RGB), stored if method is None else stored.transpose(method))


def test_alpha_is_dropped_and_not_composited(tmp_path: Path, photo: Image.Image) -> None:
    transparent = photo.copy()
    transparent.putalpha(Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))))
    transparent.save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.png", RGB), photo)


def test_grey_with_alpha_becomes_three_equal_channels(tmp_path: Path, photo: Image.Image) -> None:
    grey = photo.convert("L")
    Image.merge("LA", (grey, Image.new("L", grey.size, 7))).save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.png", RGB), grey.convert("RGB"))


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path, photo: Image.Image) -> None:
    palette = photo.quantize(16)
    palette.save(tmp_path / "a.png", transparency=bytes(range(16)))
    assert same(read_image(tmp_path / "a.png", RGB), palette.convert("RGB"))


def test_a_black_and_white_png_is_read(tmp_path: Path, photo: Image.Image) -> None:
    bits = photo.convert("1")
    bits.save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.png", RGB), bits.convert("RGB"))


def test_grey_of_16_bits_keeps_the_high_byte_and_does_not_clip(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "a.png")
    expected = np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png", RGB)), expected)


def test_colour_of_16_bits_keeps_the_high_byte(tmp_path: Path) -> None:
    # Pillow cannot write this kind of PNG, so it is written by hand: 1x1 pixel, bit depth 16, RGB
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">HHH", 0x12FF, 0x8000, 0xFE01))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert np.asarray(read_image(tmp_path / "a.png", RGB)).tolist() == [[[0x12, 0x80, 0xFE]]]


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = np.asarray(read_image(tmp_path / "a.jpg", RGB))[8, 8].tolist()
    assert red > 250 and green < 5 and blue < 5


def test_gray_is_the_luma_of_the_colours(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.png", GRAY), photo.convert("L"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.95])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, photo: Image.Image, suffix: str, part: float) -> None:
    file = tmp_path / f"broken.{suffix}"
    photo.save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match=rf"cannot read .*broken\.{suffix}: [^\n]+; replace or remove it$"):
        read_image(file, RGB)


def test_other_bytes_under_an_image_name_are_refused(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: not a JPEG, PNG, WebP or BMP image"):
        read_image(tmp_path / "a.png", RGB)


def test_damaged_exif_leaves_the_photo_as_stored(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")
    assert read_image(tmp_path / "a.jpg", RGB).size == photo.size


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    # one bit a pixel: 200 megapixels in some 25 kB
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png: .*decompression bomb"):
        read_image(tmp_path / "bomb.png", RGB)


def test_a_photo_of_90_megapixels_is_read_without_a_warning(tmp_path: Path) -> None:
    Image.new("L", (10_000, 9_000)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png", GRAY).size == (10_000, 9_000)


def test_a_folder_under_an_image_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match=r"x\.jpg: not a regular file"):
        read_image(tmp_path / "x.jpg", RGB)


def test_a_named_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="not a regular file"):
        read_image(tmp_path / "x.jpg", RGB)


def test_a_broken_link_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"x\.jpg: No such file or directory"):
        read_image(tmp_path / "x.jpg", RGB)


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_resize_crop_and_normalization_equal_explicit_pillow_calls(
    photo: Image.Image, preprocess: Preprocess, interpolation: Interpolation
) -> None:
    recipe = Preprocess(36, preprocess.mean, preprocess.std, interpolation)
    # 60x40 → short side 36: 54x36; the 32x32 crop starts at ((54-32)/2, (36-32)/2)
    mean, std = np.asarray(recipe.mean, np.float32), np.asarray(recipe.std, np.float32)
    resized = photo.resize((54, 36), Image.Resampling[interpolation.name]).crop((11, 2, 43, 34))
    expected = (np.asarray(resized, np.float32) / np.float32(255) - mean) / std
    got = prepare(photo, recipe, SIZE, "a.png")
    assert got.dtype == np.float32 and np.array_equal(got, expected.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("resize", "resized", "left", "top"),
    [
        (37, (55, 37), 12, 2),  # 37 · 60 / 40 = 55.5 → 55; (55 - 32) / 2 = 11.5 → 12; (37 - 32) / 2 = 2.5 → 2
        (39, (58, 39), 13, 4),  # 39 · 60 / 40 = 58.5 → 58; (39 - 32) / 2 = 3.5 → 4
    ],
)
def test_the_long_side_is_truncated_and_offsets_go_to_even(
    photo: Image.Image, resize: int, resized: tuple[int, int], left: int, top: int
) -> None:
    expected = photo.resize(resized, Image.Resampling.BILINEAR).crop((left, top, left + 32, top + 32))
    got = prepare(photo, Preprocess(resize, PLAIN.mean, PLAIN.std), SIZE, "a.png")
    assert np.array_equal(np.rint(got * 255).astype(np.uint8).transpose(1, 2, 0), np.asarray(expected))


def test_an_upright_photo_is_resized_by_its_width(photo: Image.Image) -> None:
    upright = photo.transpose(Image.Transpose.ROTATE_90)
    expected = upright.resize((36, 54), Image.Resampling.BILINEAR).crop((2, 11, 34, 43))
    got = prepare(upright, Preprocess(36, PLAIN.mean, PLAIN.std), SIZE, "a.png")
    assert np.array_equal(np.rint(got * 255).astype(np.uint8).transpose(1, 2, 0), np.asarray(expected))


def test_height_and_width_of_the_input_are_not_swapped(photo: Image.Image) -> None:
    expected = photo.resize((54, 36), Image.Resampling.BILINEAR).crop((2, 6, 52, 30))
    got = prepare(photo, Preprocess(36, PLAIN.mean, PLAIN.std), ImageSize(3, 24, 50), "a.png")
    assert np.array_equal(np.rint(got * 255).astype(np.uint8).transpose(1, 2, 0), np.asarray(expected))


def test_resize_0_squeezes_the_whole_photo(photo: Image.Image) -> None:
    expected = photo.resize((50, 24), Image.Resampling.BILINEAR)
    got = prepare(photo, PLAIN, ImageSize(3, 24, 50), "a.png")
    assert np.array_equal(np.rint(got * 255).astype(np.uint8).transpose(1, 2, 0), np.asarray(expected))


def test_bgr_reverses_the_channels_and_mean_and_std_are_of_the_reversed_ones(photo: Image.Image) -> None:
    rgb = prepare(photo, PLAIN, SIZE, "a.png")
    bgr = prepare(photo, Preprocess(0, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0), color_order=BGR), SIZE, "a.png")
    assert np.array_equal(bgr[0], rgb[2] - np.float32(0.1))
    assert np.array_equal(bgr[2], (rgb[0] - np.float32(0.3)) / np.float32(4))


def test_gray_gives_one_channel(photo: Image.Image) -> None:
    got = prepare(photo.convert("L"), Preprocess(0, (0.5,), (0.5,), color_order=GRAY), ImageSize(1, 32, 32), "a.png")
    expected = np.asarray(photo.convert("L").resize((32, 32), Image.Resampling.BILINEAR), np.float32) / 255
    assert got.shape == (1, 32, 32)
    np.testing.assert_allclose(got[0], (expected - 0.5) / 0.5, atol=1e-6)


def test_a_photo_smaller_than_the_crop_is_refused_with_both_sizes(photo: Image.Image) -> None:
    with pytest.raises(DataError, match=r"a\.png is 37x25 pixels after .* model's 32x32; give --resize 32 or more"):
        prepare(photo, Preprocess(25, PLAIN.mean, PLAIN.std), SIZE, "a.png")


def test_an_elongated_photo_is_refused_before_it_fills_the_memory(preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"line\.png is too elongated, 1x200000 pixels"):
        prepare(Image.new("RGB", (1, 200_000)), preprocess, SIZE, "line.png")


@pytest.mark.parametrize("color", [(0, 0, 0), (10, 20, 30)])
def test_a_photo_of_one_colour_is_refused_by_name(preprocess: Preprocess, color: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=rf"flat\.png is constant, every pixel .* is \({color[0]}, {color[1]}"):
        prepare(Image.new("RGB", (60, 40), color), preprocess, SIZE, "flat.png")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Preprocess(36, (0.5,), (0.5,), color_order=GRAY), "3-channel images but the color order is gray; .* rgb, bgr"),
        (Preprocess(36, (0.5,), (0.5,)), "has 1 means; give 3 numbers to --mean and to --std"),
        (Preprocess(31, PLAIN.mean, PLAIN.std), "resized to 31 pixels are smaller .* 32x32; give --resize 32 or more"),
    ],
)
def test_preprocessing_that_does_not_fit_the_input_is_refused(recipe: Preprocess, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_preprocess(recipe, SIZE)


def test_only_a_single_image_input_takes_photos() -> None:
    assert photo_size(((1, 3, 20, 30),)) == (3, 20, 30)
    assert photo_size(((1, 1, 20, 30),)) == (1, 20, 30)
    assert photo_size(((1, 4, 20, 30),)) is photo_size(((1, 3, 20),)) is None
    assert photo_size(((1, 3, 20, 30), (1, 3, 20, 30))) is None


def test_an_image_model_without_preprocessing_is_told_its_flags() -> None:
    with pytest.raises(DataError, match="net says not how photos are prepared for it; give --mean, --std and --resize"):
        photo_target(((1, 3, 20, 30),), None, "net", "--validation")
