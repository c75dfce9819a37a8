"""Finds the images in a folder and loads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeds.data.images import SUFFIXES, ImageSize, prepare, read_image
from edgeds.data.samples import evenly_spaced, make_samples, reason, shown
from edgeds.errors import DataError
from edgeds.spec import Preprocess, Samples


@dataclass(frozen=True, slots=True)
class Listing:
    """The images under `root` (paths relative to it, in a stable order), and how many files of which suffix are none."""

    root: Path
    images: tuple[Path, ...]
    ignored: tuple[tuple[str, int], ...]


def list_images(root: Path) -> Listing:
    """The images in a folder and below it, sorted by relative path; files and folders that start with a dot are skipped.

    Raises DataError where a folder cannot be listed, or where there is no image: it says what was found instead.
    """
    files = sorted(_files(root), key=lambda path: os.fsencode(path.as_posix()))
    images = tuple(path for path in files if path.suffix.lower() in SUFFIXES)
    others = Counter(path.suffix.lower() or "no suffix" for path in files if path.suffix.lower() not in SUFFIXES)
    listing = Listing(root, images, tuple(sorted(others.items())))
    if not images:
        raise DataError(
            f"no image in {shown(root)} (found {counts(listing.ignored)}); give a folder with {', '.join(SUFFIXES)} "
            f"files, or one .npz or .npy file"
        )
    return listing


def counts(ignored: Iterable[tuple[str, int]]) -> str:
    """`2 .tif, 1 .txt`, or `nothing`."""
    return ", ".join(f"{n} {shown(suffix)}" for suffix, n in ignored) or "nothing"


def _files(root: Path) -> Iterator[Path]:
    # links to folders are followed, for datasets are often made of them; `seen` ends their circles
    seen = {os.path.realpath(root)}
    for parent, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders[:] = [f for f in sorted(folders) if not f.startswith(".") and _is_new(os.path.join(parent, f), seen)]
        for name in files:
            if not name.startswith("."):
                yield Path(parent, name).relative_to(root)


def _is_new(folder: str, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    new = real not in seen
    seen.add(real)
    return new


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot list {shown(error.filename)}: {reason(error)}; change its permissions") from error


def load_images(listing: Listing, size: ImageSize, preprocess: Preprocess, source: str, limit: int | None) -> Samples:
    """The listing's images (at most `limit` of them, evenly spaced) as samples, each a group of its own."""
    paths = [listing.images[i] for i in evenly_spaced(len(listing.images), limit)]
    inputs = np.empty((len(paths), *size), np.float32)
    for row, path in enumerate(paths):
        file = listing.root / path
        inputs[row] = prepare(read_image(file, preprocess.color_order), preprocess, size, shown(file))
    names = [shown(path.as_posix()) for path in paths]
    return make_samples([inputs], names, names, source)
