"""Reads inputs that are preprocessed already from a .npz or .npy file. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.lib.npyio import NpzFile

from edgeds.data.samples import Shapes, check_values, evenly_spaced, make_samples, reason, shown
from edgeds.errors import DataError
from edgeds.spec import Array, Samples

SUFFIXES = (".npz", ".npy")
# names that say "this is the input" where a .npz file also holds labels
INPUT_NAMES = ("inputs", "input", "x", "arr_0", "input0", "input_0")
NUMBERED_NAMES = ("arr_{}", "input{}", "input_{}")


def load_arrays(
    path: Path, input_shapes: Shapes, source: str, limit: int | None, input_names: Sequence[str] = ()
) -> tuple[Samples, int]:
    """The samples in an array file (at most `limit`, evenly spaced), and how many it holds.

    An array is [N, ...], or whole inputs of the model in a row, [N / batch, batch, ...]; floats and integers become float32. Several
    inputs have the names `input_names`, or numbers. Each row is a group of its own. Raises DataError, naming the file and the row, for a file that cannot be read, another shape, raw
    pixels (uint8), NaN, Inf, or a constant sample.
    """
    names = list(input_names) or [f"input{k}" for k in range(len(input_shapes))]
    arrays = [fitting(a, shape, path) for a, shape in zip(_read(path, names), input_shapes, strict=True)]
    lengths = [len(a) for a in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"{shown(path)} has inputs of {lengths} samples; give as many of each")
    if not lengths[0]:
        raise DataError(f"{shown(path)} holds 0 samples; give at least 1")
    rows = evenly_spaced(lengths[0], limit)
    inputs = [as_float32(a, rows) for a in arrays]
    check_values(inputs, [f"{shown(path)}#{row}" for row in rows])
    sample_names = [f"{shown(path.name)}#{row}" for row in rows]
    return make_samples(inputs, sample_names, sample_names, source), lengths[0]


def _read(path: Path, names: Sequence[str]) -> list[Array]:
    try:
        with path.open("rb") as file:  # given a path, NumPy leaves a broken archive open
            if file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
                # mapped, not read, so that a limit saves memory
                return _only(path, np.load(path, mmap_mode="r", allow_pickle=False), names)
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                return [_member(path, content, name) for name in choose_names(path, content.files, names)]
    except DataError:
        raise
    except Exception as error:  # a broken header or archive makes NumPy and zipfile raise nearly anything
        raise DataError(
            f"cannot read {shown(path)}: {why_unreadable(error)}; save plain numbers with numpy.savez"
        ) from error


def why_unreadable(error: Exception) -> str:
    """What NumPy's error means, in one line."""
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return "it holds pickled objects, which are never loaded"
    if "pickle" in str(error):  # NumPy takes whatever is no .npy or .npz file for a pickle
        return "not a NumPy file, or one of pickled objects, which are never loaded"
    return reason(error)


def _only(path: Path, array: Array, inputs: Sequence[str]) -> list[Array]:
    if len(inputs) != 1:
        raise DataError(
            f"{shown(path)} is one array but the model has {len(inputs)} inputs; "
            f"give a .npz with arrays named {', '.join(inputs)}"
        )
    return [array]


def choose_names(path: Path, names: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Which of a file's arrays are the model's `inputs`, in their order. DataError where that is not clear."""
    if len(inputs) > 1:
        numbered = [[pattern.format(i) for i in range(len(inputs))] for pattern in NUMBERED_NAMES]
        for wanted in [list(inputs), *numbered]:
            if set(wanted) <= set(names):
                return wanted
        raise DataError(
            f"{shown(path)} has arrays {_list(names)} but the model has {len(inputs)} inputs; "
            f"give a .npz with arrays named {', '.join(inputs)}"
        )
    if len(names) == 1:
        return list(names)
    if any(pattern.format(1) in names for pattern in NUMBERED_NAMES):
        raise DataError(f"{shown(path)} has arrays {_list(names)}, but the model has one input; save that one alone")
    known = [name for name in names if name in (*INPUT_NAMES, *inputs)]
    if len(known) != 1:
        raise DataError(f"{shown(path)} has arrays {_list(names)}; give one array, or name the input's `inputs`")
    return known


def _list(names: Sequence[str]) -> str:
    shortened = [*names[:8], "..."] if len(names) > 8 else names
    return ", ".join(shortened) or "(none)"


def _member(path: Path, content: NpzFile, name: str) -> Array:
    array = content[name]
    if not isinstance(array, np.ndarray):
        raise DataError(f"{shown(path)}: {name} is no array; save plain numbers with numpy.savez")
    return array


def fitting(array: Array, shape: tuple[int, ...], path: Path) -> Array:
    """The array as rows of an input of this shape (batch included). DataError for another shape, raw pixels, or what is no number."""
    if array.dtype == np.uint8:
        raise DataError(
            f"{shown(path)} is uint8, raw pixels most likely; preprocess it to float32 as the model needs it, "
            f"or give a folder of images"
        )
    if array.dtype.kind not in "fiu":
        raise DataError(f"{shown(path)} is of type {array.dtype}; give float32 (floats and integers are converted)")
    if array.shape[1:] == shape[1:] and array.ndim:
        return array
    if array.shape[1:] in (shape, (1, *shape[1:])):
        return array.reshape(-1, *shape[1:])
    expected = ", ".join(["N", *(str(d) for d in shape[1:])])
    raise DataError(
        f"{shown(path)} has shape {list(array.shape)} but the model needs [{expected}]{_hint(array, shape)}"
    )


def _hint(array: Array, shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and array.shape[1:] == (*shape[2:], shape[1]):
        return "; it is channels last, save array.transpose(0, 3, 1, 2)"
    if array.shape == shape[1:]:
        return "; it is one sample without the first axis, save array[None]"
    return "; save it in that shape"


def as_float32(array: Array, rows: Sequence[int]) -> Array:
    """Those rows in memory, as float32."""
    # what overflows becomes Inf and is refused by check_values
    with np.errstate(over="ignore", invalid="ignore"):
        chosen = array if len(rows) == len(array) else array[list(rows)]
        return np.array(chosen, dtype=np.float32, order="C")
