"""Reads the arrays of a .npz file row after row, so that a file of any size takes little memory. Nothing is ever unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from edgeds.data.arrays import why_unreadable
from edgeds.data.samples import shown
from edgeds.errors import DataError, EdgedsError
from edgeds.spec import Array


class Member:
    """An array in a .npz file, read from its first row on: `shape` and `dtype` are known at once, `take` reads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        self.shape, fortran, self.dtype = read_header(file)
        if self.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        if not self.shape or (fortran and len(self.shape) > 1):
            raise ValueError("its values do not lie row by row; save numpy.ascontiguousarray of it")
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize

    def take(self, count: int) -> Array:
        """The next `count` rows, [count, ...]."""
        data = self._file.read(count * self._row_bytes)
        if len(data) != count * self._row_bytes:
            raise ValueError("it ends too early")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def skip(self, count: int) -> None:
        """Passes over the next `count` rows."""
        self._file.seek(count * self._row_bytes, os.SEEK_CUR)


@contextmanager
def opened(path: Path, names: Sequence[str]) -> Iterator[list[Member]]:
    """Those arrays of the file. Whatever is wrong with the file, in here or while they are read, becomes a DataError in one line."""
    with _in_one_line(path), ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        yield [Member(stack.enter_context(archive.open(f"{name}.npy"))) for name in names]


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a .npz file. DataError where it is none."""
    with _in_one_line(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except EdgedsError:
        raise
    except Exception as error:  # a broken header or archive makes NumPy and zipfile raise nearly anything
        raise DataError(
            f"cannot read {shown(path)}: {why_unreadable(error)}; save plain numbers with numpy.savez"
        ) from error
