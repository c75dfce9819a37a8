"""The real photos that ship inside scikit-image's wheel: what is calibrated on when the user gives no data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from edgeds.data.images import photo_target, prepare, read_image
from edgeds.data.samples import Shapes, make_samples
from edgeds.errors import ToolError
from edgeds.spec import Preprocess, Samples

# the colour photos that are in the wheel itself; scikit-image downloads its others
FILES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)

# zoom, where the zoomed part lies (0 left or top, 1 right or bottom), and whether it is mirrored.
# Each view then goes through the model's own preprocessing, as if the photo had been taken from nearer.
VIEWS = (
    (1.0, 0.5, 0.5, False),
    (1.0, 0.5, 0.5, True),
    (1.3, 0.0, 0.0, False),
    (1.3, 1.0, 0.0, True),
    (1.3, 0.0, 1.0, True),
    (1.3, 1.0, 1.0, False),
    (1.7, 0.5, 0.5, False),
    (1.7, 0.35, 0.65, True),
)


def bundled_photos(
    input_shapes: Shapes, preprocess: Preprocess | None, who: str = "the model", flag: str = "--calibration"
) -> Samples:
    """64 samples float32 [64, C, H, W]: 8 photos in 8 deterministic views each; a group is a photo.

    `who` names the model in messages, `flag` the option that would give other data. Raises DataError where the
    model's only input is no image [1, 1 or 3, H, W] or has no preprocessing, ToolError where scikit-image is missing.
    """
    size, preprocess = photo_target(input_shapes, preprocess, who, flag)
    folder = photo_folder()
    inputs = np.empty((len(FILES) * len(VIEWS), *size), np.float32)
    names = [f"{file}#{index}" for file in FILES for index in range(len(VIEWS))]
    for row, file in enumerate(FILES):
        photo = read_image(folder / file, preprocess.color_order)
        for index in range(len(VIEWS)):
            place = row * len(VIEWS) + index
            inputs[place] = prepare(view(photo, index), preprocess, size, names[place])
    groups = [file for file in FILES for _ in VIEWS]
    return make_samples([inputs], names, groups, "photos of scikit-image")


def photo_folder() -> Path:
    """Where scikit-image keeps its photos; it is found, not imported (that takes a second). Raises ToolError."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError(
            "scikit-image, whose photos are calibrated on by default, is not installed; pip install scikit-image"
        )
    folder = Path(spec.submodule_search_locations[0], "data")
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise ToolError(
            f"scikit-image is installed without its photos {', '.join(missing)}; "
            f"pip install --force-reinstall scikit-image, or give --calibration FOLDER"
        )
    return folder


def view(photo: Image.Image, index: int) -> Image.Image:
    """View `index` of a photo: a part of it with the same aspect ratio, perhaps mirrored."""
    zoom, x, y, mirrored = VIEWS[index]
    width, height = round(photo.width / zoom), round(photo.height / zoom)
    left, top = round((photo.width - width) * x), round((photo.height - height) * y)
    part = photo.crop((left, top, left + width, top + height))
    return ImageOps.mirror(part) if mirrored else part
