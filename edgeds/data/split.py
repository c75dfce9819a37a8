"""Splits samples into those to calibrate on and those held out, so that neither side has seen the other."""

from __future__ import annotations

import hashlib

from edgeds.data.samples import content_hashes, take
from edgeds.errors import DataError, InputError
from edgeds.spec import Samples


def split(samples: Samples, fraction: float = 0.25, seed: int = 0) -> tuple[Samples, Samples]:
    """(calibration, held out): about `fraction` of the samples are held out, at least one on either side.

    Groups stay whole, and groups that share a sample with identical bytes stay together. Which are held out depends on
    the seed and the groups' names only, not on the order of the samples. Raises DataError where nothing can be split
    off, InputError for a fraction that is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InputError(f"cannot hold out a fraction of {fraction}; give a number between 0 and 1, like 0.25")
    units = _units(samples)
    if len(units) < 2:
        what = "1 sample" if len(samples) == 1 else f"{len(samples)} samples, all of one photo or identical"
        raise DataError(f"{samples.source} has {what}: none can be held out; give at least 2 samples, or --validation")
    held = set(_held_out(units, samples, fraction, seed))
    rows = range(len(samples))
    return take(samples, [r for r in rows if r not in held]), take(samples, [r for r in rows if r in held])


def overlap(calibration: Samples, validation: Samples) -> tuple[str, ...]:
    """The names of validation samples whose bytes are also among the calibration samples."""
    seen = set(content_hashes(calibration))
    hashes = content_hashes(validation)
    return tuple(name for name, value in zip(validation.names, hashes, strict=True) if value in seen)


def _units(samples: Samples) -> list[list[int]]:
    """Rows that must stay together: one group, or groups that share content (union-find over groups)."""
    parent = {group: group for group in samples.groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first_group: dict[bytes, str] = {}
    for group, content in zip(samples.groups, content_hashes(samples), strict=True):
        # the smaller name is the root, so that it does not depend on the samples' order
        a, b = sorted((root(group), root(first_group.setdefault(content, group))))
        parent[b] = a
    units: dict[str, list[int]] = {}
    for row, group in enumerate(samples.groups):
        units.setdefault(root(group), []).append(row)
    return list(units.values())


def _held_out(units: list[list[int]], samples: Samples, fraction: float, seed: int) -> list[int]:
    def draw(unit: list[int]) -> bytes:
        # a hash is the same for ever and on every machine, unlike a random generator's stream
        return hashlib.sha256(f"{seed}:{min(samples.groups[r] for r in unit)}".encode()).digest()

    target = min(round(len(samples) * fraction), len(samples) - 1)
    held: list[int] = []
    for unit in sorted(units, key=draw):
        if len(held) + len(unit) <= target:
            held += unit
    return held or min(units, key=lambda unit: (len(unit), draw(unit)))
