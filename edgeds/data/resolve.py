"""From what the user named (a path, `random`, nothing) to samples, with the warnings that belong to the choice."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from edgeds.data import arrays, images
from edgeds.data.assume import assume_preprocess, assumed_warning
from edgeds.data.folder import Listing, counts, list_images, load_images
from edgeds.data.images import photo_size, photo_target
from edgeds.data.photos import FILES, bundled_photos
from edgeds.data.samples import Shapes, random_samples, shown
from edgeds.errors import DataError
from edgeds.spec import Preprocess, Samples

FEW = 16
# what a command keeps in memory of one data set; 1783 photos of 224x224
MAX_BYTES = 1 << 30
# image formats that are not read: worth a warning where they lie beside images that are
UNREAD_IMAGES = (".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class _Loaded:
    samples: Samples
    found: int
    ignored: tuple[tuple[str, int], ...] = ()


def load_samples(path: Path, input_shapes: Shapes, preprocess: Preprocess | None, limit: int | None = None) -> Samples:
    """Samples from a folder of images (searched below too), one image file, or a .npz or .npy file of inputs.

    `input_shapes` are the model's, batch included. With a limit, that many are taken evenly spaced over the sorted
    images or the rows. Raises DataError, naming the file, for what cannot be read or used, InputError for
    preprocessing that does not fit the model.
    """
    return _load(path, input_shapes, preprocess, limit, "the model", "--calibration").samples


def resolve(
    argument: str | None,
    model_name: str,
    input_shapes: Shapes,
    preprocess: Preprocess | None,
    flag: str = "--calibration",
    input_names: tuple[str, ...] = (),
) -> tuple[Samples, tuple[str, ...]]:
    """The samples that `argument` names, and the warnings to show: None is the bundled photos, `random` is noise.

    `flag` is the option that the argument came with; `input_names` are what arrays of several inputs may be called. At most 1 GiB of samples is kept, evenly spaced over the data.
    Where photos are read and `preprocess` is None, `assume_preprocess` is used, with its warning. Raises as
    `load_samples` and `bundled_photos` do.
    """
    if argument == "random":
        return random_samples(input_shapes), (_random_warning(flag),)
    # one grey channel is as likely audio, so it takes photos only where the user names some
    photos = _takes_rgb(input_shapes) if argument is None else _is_images(argument)
    warnings: list[str] = []
    if preprocess is None and photos and photo_size(input_shapes):
        preprocess = assume_preprocess(input_shapes[0])
        warnings.append(assumed_warning(preprocess))
    if argument is None:
        samples = bundled_photos(input_shapes, preprocess, model_name, flag)
        return samples, (_bundled_warning(samples, flag), *warnings)
    if not argument:
        raise DataError(f"{flag} is empty; give a folder of images, a .npz or .npy file, or random")
    loaded = _load(Path(argument), input_shapes, preprocess, _fitting(input_shapes), model_name, flag, input_names)
    return loaded.samples, (*warnings, *_loaded_warnings(loaded))


def _load(
    path: Path,
    input_shapes: Shapes,
    preprocess: Preprocess | None,
    limit: int | None,
    who: str,
    flag: str,
    input_names: tuple[str, ...] = (),
) -> _Loaded:
    # only the last part of the path: it goes into the bundle, which must not depend on the machine
    source = shown(os.path.basename(os.path.abspath(path)))
    if path.suffix.lower() in arrays.SUFFIXES and os.path.isfile(path):
        return _Loaded(*arrays.load_arrays(path, input_shapes, source, limit, input_names))
    listing = _listing(path)
    size, preprocess = photo_target(input_shapes, preprocess, who, flag)
    return _Loaded(load_images(listing, size, preprocess, source, limit), len(listing.images), listing.ignored)


def _listing(path: Path) -> Listing:
    if os.path.isdir(path):
        return list_images(path)
    if os.path.isfile(path) and path.suffix.lower() in images.SUFFIXES:
        return Listing(path.parent, (Path(path.name),), ())
    what = "is no data that edgeds reads" if os.path.exists(path) else "does not exist"
    kinds = ", ".join((*images.SUFFIXES, *arrays.SUFFIXES))
    raise DataError(f"{shown(path)} {what}; give a folder of images, or a file of {kinds}")


def _takes_rgb(input_shapes: Shapes) -> bool:
    size = photo_size(input_shapes)
    return size is not None and size.channels == 3


def _is_images(argument: str) -> bool:
    return os.path.isdir(argument) or argument.lower().endswith(images.SUFFIXES)


def _fitting(input_shapes: Shapes) -> int:
    sample_bytes = 4 * sum(math.prod(shape[1:]) for shape in input_shapes)
    return max(FEW, MAX_BYTES // sample_bytes)


def _random_warning(flag: str) -> str:
    hint = " (the folder of that name here was not read: say ./random for it)" if os.path.isdir("random") else ""
    return (
        f"{flag} random{hint}: noise has other value ranges than real data, and calibrating MobileNetV1 on it is known to "
        f"cost 11 points of accuracy; give {flag} 32-512 real inputs"
    )


def _bundled_warning(samples: Samples, flag: str) -> str:
    return (
        f"no {flag} given: using {len(samples)} views of {len(FILES)} photos that ship with scikit-image; "
        f"give {flag} FOLDER with 32-512 photos like those that the model will see"
    )


def _loaded_warnings(loaded: _Loaded) -> list[str]:
    samples = loaded.samples
    warnings: list[str] = []
    if len(samples) < loaded.found:
        warnings.append(
            f"{samples.source}: used {len(samples)} of {loaded.found} samples, evenly spaced, to keep within 1 GiB of memory"
        )
    if len(samples) < FEW:
        warnings.append(
            f"{samples.source}: only {len(samples)} samples, so value ranges and drift are rough; 32-512 real ones are better"
        )
    unread = [(suffix, n) for suffix, n in loaded.ignored if suffix in UNREAD_IMAGES]
    if unread:
        warnings.append(
            f"{samples.source}: ignored {counts(unread)} files; convert them to one of {', '.join(images.SUFFIXES)}"
        )
    return warnings
