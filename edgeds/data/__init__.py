"""Calibration and validation data: photos, arrays or noise in, checked `Samples` out."""

from __future__ import annotations

from edgeds.data.assume import assume_preprocess, assumed_warning
from edgeds.data.photos import bundled_photos
from edgeds.data.resolve import load_samples, resolve
from edgeds.data.samples import make_samples, random_samples
from edgeds.data.split import overlap, split

__all__ = [
    "assume_preprocess",
    "assumed_warning",
    "bundled_photos",
    "load_samples",
    "make_samples",
    "overlap",
    "random_samples",
    "resolve",
    "split",
]
