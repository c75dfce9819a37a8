"""Makes `Samples`: their digest, a selection of them, random ones, and the checks that every sample must pass."""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeds.errors import DataError, InputError
from edgeds.spec import Array, Samples

Shapes = tuple[tuple[int, ...], ...]


def make_samples(inputs: Sequence[Array], names: Sequence[str], groups: Sequence[str], source: str) -> Samples:
    """Samples with their digest: sha256 over each input's dtype, shape and bytes. `inputs[k]`: [N, ...]."""
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Samples(tuple(inputs), tuple(names), tuple(groups), source, digest.hexdigest())


def take(samples: Samples, rows: Sequence[int]) -> Samples:
    """The samples at `rows`, in that order, with a digest of their own."""
    inputs = [array[list(rows)] for array in samples.inputs]
    return make_samples(inputs, [samples.names[r] for r in rows], [samples.groups[r] for r in rows], samples.source)


def content_hashes(samples: Samples) -> tuple[bytes, ...]:
    """One sha256 a sample, over its bytes in all inputs: equal only where two samples are the same data."""
    hashes = [hashlib.sha256() for _ in samples.names]
    for array in samples.inputs:
        for row, value in zip(hashes, array, strict=True):
            row.update(np.ascontiguousarray(value).data)
    return tuple(row.digest() for row in hashes)


def random_samples(input_shapes: Shapes, n: int = 32, seed: int = 0) -> Samples:
    """`n` samples of the standard normal distribution, float32, one array [n, ...] for each of `input_shapes`.

    Real data calibrates far better; this is for when none can be had. Raises InputError for n < 1.
    """
    if n < 1:
        raise InputError(f"cannot make {n} random samples; ask for at least 1")
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((n, *shape[1:]), dtype=np.float32) for shape in input_shapes]
    names = [f"random#{i}" for i in range(n)]
    return make_samples(inputs, names, names, f"random (standard normal, seed {seed})")


def evenly_spaced(total: int, limit: int | None) -> list[int]:
    """At most `limit` of `total` positions, evenly spaced: data sorted by class keeps all its classes.

    Raises InputError for a limit under 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"cannot take {limit} samples; the limit must be at least 1")
    if limit is None or limit >= total:
        return list(range(total))
    return [i * total // limit for i in range(limit)]


def check_values(inputs: Sequence[Array], names: Sequence[str]) -> None:
    """Raises DataError for the first sample that holds NaN or Inf, or whose values are all the same in every input.

    One constant input beside others that vary is fine (a mask, a step number), and so is a single number.
    """
    flat = [array.reshape(len(names), -1) for array in inputs]
    for values in flat:
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(bad.any(axis=1).argmax())
            raise DataError(
                f"{names[row]} has {int(bad[row].sum())} values that are NaN, Inf or too large for float32; "
                f"mend or remove that sample"
            )
    varied = [values for values in flat if values.shape[1] > 1]
    if varied:
        constant = np.logical_and.reduce([values.max(axis=1) == values.min(axis=1) for values in varied])
        if constant.any():
            row = int(constant.argmax())
            raise DataError(f"{names[row]} is constant, every value is {varied[0][row, 0]:g}; remove that sample")


def shown(path: Path | str) -> str:
    """A path as text that can be printed and written to JSON: bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def reason(error: BaseException) -> str:
    """What an exception says, in one line and without the path that it repeats."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return textwrap.shorten(text, 160, placeholder="...")


def shape_text(shapes: Shapes) -> str:
    """Input shapes as messages show them: `[1, 3, 224, 224]`, several joined by `and`."""
    return " and ".join(str(list(shape)) for shape in shapes)
