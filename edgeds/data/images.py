"""Turns an image file into a model's input exactly as torchvision's Resize, CenterCrop, ToTensor, Normalize would."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeds.data.samples import Shapes, reason, shape_text, shown
from edgeds.errors import DataError, InputError
from edgeds.spec import Array, ColorOrder, Interpolation, Preprocess

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
# Pillow's own limit for a decompression bomb is twice its MAX_IMAGE_PIXELS; a resize must not pass it either.
MAX_PIXELS = 2 * 89_478_485

RESAMPLING = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.NEAREST: Image.Resampling.NEAREST,
}


class ImageSize(NamedTuple):
    """The image that a model takes: channels, height and width in pixels."""

    channels: int
    height: int
    width: int


def photo_size(input_shapes: Shapes) -> ImageSize | None:
    """The image that a model with these input shapes takes, None unless its only input is [1, 1 or 3, H, W]."""
    if len(input_shapes) != 1 or len(input_shapes[0]) != 4 or input_shapes[0][1] not in (1, 3):
        return None
    return ImageSize(*input_shapes[0][1:])


def photo_target(
    input_shapes: Shapes, preprocess: Preprocess | None, who: str, flag: str
) -> tuple[ImageSize, Preprocess]:
    """Size and preprocessing for photos; raises DataError where the model takes none or says not how to prepare them.

    `who` names the model in the message, `flag` the option that the data came with. Raises InputError for
    preprocessing that does not fit the model's input.
    """
    size = photo_size(input_shapes)
    if size is None or (preprocess is None and size.channels == 1):
        raise DataError(
            f"{who} takes {shape_text(input_shapes)}, not photos; give {flag} FILE.npz with real inputs, or {flag} random"
        )
    if preprocess is None:
        raise DataError(
            f"{who} says not how photos are prepared for it; give --mean, --std and --resize, or {flag} FILE.npz with inputs"
        )
    check_preprocess(preprocess, size)
    return size, preprocess


def check_preprocess(preprocess: Preprocess, size: ImageSize) -> None:
    """Raises InputError unless `preprocess` makes images of this size: channels, means and crop."""
    channels = 1 if preprocess.color_order is ColorOrder.GRAY else 3
    if channels != size.channels:
        choices = "gray" if size.channels == 1 else "rgb, bgr"
        raise InputError(
            f"the model takes {size.channels}-channel images but the color order is {preprocess.color_order}; "
            f"choose --color-order from {choices}"
        )
    if len(preprocess.mean) != channels:
        raise InputError(
            f"the model takes {channels}-channel images but preprocessing has {len(preprocess.mean)} means; "
            f"give {channels} numbers to --mean and to --std"
        )
    if 0 < preprocess.resize < min(size.height, size.width):
        raise InputError(
            f"photos resized to {preprocess.resize} pixels are smaller than the model's input "
            f"{size.height}x{size.width}; give --resize {max(size.height, size.width)} or more, or 0 to squeeze"
        )


def read_image(path: Path, color_order: ColorOrder) -> Image.Image:
    """An image file as Pillow's RGB (or L for gray), turned upright by its EXIF orientation.

    Alpha is dropped, as `convert("RGB")` does and so torchvision; 16-bit values keep their high byte; of an
    animation the first frame is read. ICC profiles are not applied (torchvision applies none).
    Raises DataError, naming the file and Pillow's reason, where it cannot be decoded.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        # a named pipe would block for ever
        raise DataError(f"cannot read {shown(path)}: not a regular file; remove it or give an image file")
    try:
        with warnings.catch_warnings():
            # damaged EXIF, which leaves the photo as stored, and 90-179 megapixels, which phones take (Pillow refuses more)
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                ImageOps.exif_transpose(image, in_place=True)
                return _convert(image, color_order)
    except UnidentifiedImageError as error:
        raise DataError(
            f"cannot read {shown(path)}: not a JPEG, PNG, WebP or BMP image; replace or remove it"
        ) from error
    except Exception as error:  # broken files make Pillow's decoders raise nearly anything
        raise DataError(f"cannot read {shown(path)}: {reason(error)}; replace or remove it") from error


def _convert(image: Image.Image, color_order: ColorOrder) -> Image.Image:
    if image.mode.startswith("I"):
        # convert() would clip 16-bit grey at 255; Pillow's decoder keeps the high byte of 16-bit colour, so do we
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    rgb = image.convert("RGB")
    return rgb.convert("L") if color_order is ColorOrder.GRAY else rgb


def prepare(image: Image.Image, preprocess: Preprocess, size: ImageSize, name: str) -> Array:
    """The model's input, float32 [C, H, W], of an image from `read_image`.

    Resize and crop are torchvision's on Pillow images: the long side is truncated, the crop's offset rounded half
    to even. Mean and std belong to the input's channels, so for BGR the first is blue's. Raises DataError, naming
    `name`, for an image that is smaller than the crop, too elongated, or of one colour.
    """
    fitted = _resize_and_crop(image, preprocess, size, name)
    lowest_highest = [channel.getextrema() for channel in fitted.split()]
    if fitted.size != (1, 1) and all(low == high for low, high in lowest_highest):
        color = tuple(low for low, _ in lowest_highest)
        raise DataError(f"{name} is constant, every pixel that the model sees is {color}; remove that image")
    pixels = np.asarray(fitted).reshape(size.height, size.width, size.channels)
    if preprocess.color_order is ColorOrder.BGR:
        pixels = pixels[:, :, ::-1]
    scaled = pixels.astype(np.float32) / np.float32(255)
    scaled -= np.asarray(preprocess.mean, np.float32)
    scaled /= np.asarray(preprocess.std, np.float32)
    return scaled.transpose(2, 0, 1)


def _resize_and_crop(image: Image.Image, preprocess: Preprocess, size: ImageSize, name: str) -> Image.Image:
    resampling = RESAMPLING[preprocess.interpolation]
    if preprocess.resize == 0:
        return image.resize((size.width, size.height), resampling)
    short, long = sorted(image.size)
    # torchvision.transforms.functional._compute_resized_output_size
    new_long = int(preprocess.resize * long / short)
    if preprocess.resize * new_long > MAX_PIXELS:
        raise DataError(f"{name} is too elongated, {image.width}x{image.height} pixels; remove or crop it")
    width, height = (preprocess.resize, new_long) if image.width <= image.height else (new_long, preprocess.resize)
    if width < size.width or height < size.height:
        raise DataError(
            f"{name} is {width}x{height} pixels after the resize, smaller than the model's {size.width}x{size.height}; "
            f"give --resize {max(size.height, size.width)} or more, or 0 to squeeze"
        )
    # torchvision.transforms.functional.center_crop
    left, top = round((width - size.width) / 2), round((height - size.height) / 2)
    return image.resize((width, height), resampling).crop((left, top, left + size.width, top + size.height))
