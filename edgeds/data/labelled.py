"""Labelled sets, read piece by piece: a folder with a folder of images a class, a CSV file of path,label, or a .npz file with `labels`."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from edgeds.data.arrays import as_float32, choose_names, fitting
from edgeds.data.assume import assume_preprocess, assumed_warning
from edgeds.data.classes import check_range, class_indices
from edgeds.data.folder import list_images
from edgeds.data.images import ImageSize, photo_size, photo_target, prepare, read_image
from edgeds.data.samples import check_values, evenly_spaced, make_samples, reason, shown
from edgeds.data.stream import Member, array_names, opened
from edgeds.errors import DataError
from edgeds.spec import Array, ModelCard, Preprocess, Samples

FLAG = "--data"
LABELS = "labels"
KINDS = (
    "a folder with a folder of images for each class, a .csv file of path,label, or a .npz file with inputs and labels"
)
# What is in memory at once: a runtime's process holds a piece twice, and two of them run side by side.
PIECE_BYTES = 128 * 2**20
PIECE_SAMPLES = 4096
HEADERS = ({"path", "file", "filename", "image"}, {"label", "class", "target"})


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples in a row: `digest` tells them and their preparation from all others; `load` decodes them. Load it before the next piece."""

    digest: str
    load: Callable[[], Samples]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """A labelled set: where each sample came from, its class (int64 [N]), and the samples themselves, a piece at a time, from the first on."""

    source: str
    names: tuple[str, ...]
    labels: Array
    pieces: Callable[[], Iterator[Piece]]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def open_labelled(path: Path, card: ModelCard, n_classes: int, limit: int | None = None) -> LabelledSet:
    """The set at `path`, at most `limit` samples of it, evenly spaced. DataError, naming file and line, for what cannot be used.

    Class names become the model's indices as `class_indices` says; images are prepared as the bundle says.
    """
    source = shown(os.path.basename(os.path.abspath(path)))
    if path.suffix.lower() == ".npz" and path.is_file():
        return _arrays(path, card, n_classes, limit, source)
    if path.is_dir():
        files, given = _class_folders(path)
        root = path
    elif path.suffix.lower() == ".csv" and path.is_file():
        files, given = _table(path)
        root = path.parent
    else:
        what = "has no labels" if path.exists() else "does not exist"
        raise DataError(f"{shown(path)} {what}; give {KINDS}")
    return _images(root, files, given, card, n_classes, limit, source)


def _class_folders(root: Path) -> tuple[list[Path], list[str]]:
    files = list(list_images(root).images)
    for file in files:
        if len(file.parts) < 2:
            raise DataError(f"{shown(file)} lies in no folder of a class of {shown(root)}; give {KINDS}")
    return files, [shown(file.parts[0]) for file in files]


def _table(path: Path) -> tuple[list[Path], list[str]]:
    """The files and labels of a CSV file, paths relative to its folder. A heading like `path,label` may stand first."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {shown(path)}: {reason(error)}; give {KINDS}") from error
    if rows and len(rows[0][1]) == 2 and all(w.strip().lower() in k for w, k in zip(rows[0][1], HEADERS, strict=True)):
        rows = rows[1:]
    if not rows:
        raise DataError(f"{shown(path)} holds 0 samples; give a line path,label for each")
    for number, row in rows:
        if len(row) != 2:
            raise DataError(f"{shown(path)}, line {number}, has {len(row)} columns; each line is path,label")
        if not os.path.isfile(path.parent / row[0].strip()):
            raise DataError(
                f"{shown(path)}, line {number}: there is no file {row[0]!r} in {shown(path.parent)}; mend that line"
            )
    return [Path(row[0].strip()) for _, row in rows], [row[1].strip() for _, row in rows]


def _images(
    root: Path,
    files: Sequence[Path],
    given: Sequence[str],
    card: ModelCard,
    n_classes: int,
    limit: int | None,
    source: str,
) -> LabelledSet:
    labels, warnings = class_indices(given, card.labels, n_classes, source)
    preprocess = card.preprocess
    if preprocess is None and (wanted := photo_size(card.input_shapes)) and wanted.channels == 3:
        preprocess = assume_preprocess(card.input_shapes[0])
        warnings += (assumed_warning(preprocess),)
    size, preprocess = photo_target(card.input_shapes, preprocess, card.name, FLAG)
    rows = evenly_spaced(len(files), limit)
    chosen = [files[row] for row in rows]
    names = tuple(shown(file.as_posix()) for file in chosen)

    def pieces() -> Iterator[Piece]:
        step = _piece_size(card)
        for first in range(0, len(chosen), step):
            yield _image_piece(root, chosen[first : first + step], size, preprocess, source)

    return LabelledSet(source, names, labels[rows], pieces, warnings)


def _image_piece(root: Path, files: Sequence[Path], size: ImageSize, preprocess: Preprocess, source: str) -> Piece:
    """Told by the bytes of its files, so that what was evaluated before needs no decoding."""
    names = [shown(file.as_posix()) for file in files]

    def load() -> Samples:
        inputs = np.empty((len(files), *size), np.float32)
        for row, (file, name) in enumerate(zip(files, names, strict=True)):
            inputs[row] = prepare(read_image(root / file, preprocess.color_order), preprocess, size, name)
        return make_samples([inputs], names, names, source)

    found = hashlib.sha256(f"{PIL.__version__} {preprocess} {size}".encode())
    for file in files:
        try:
            found.update(hashlib.sha256((root / file).read_bytes()).digest())
        except OSError as error:
            raise DataError(f"cannot read {shown(root / file)}: {reason(error)}; replace or remove it") from error
    return Piece(found.hexdigest(), load)


def _arrays(path: Path, card: ModelCard, n_classes: int, limit: int | None, source: str) -> LabelledSet:
    names = array_names(path)
    if LABELS not in names:
        raise DataError(f"{shown(path)} has arrays {', '.join(names) or '(none)'}, no {LABELS}; give {KINDS}")
    inputs = list(card.input_names) or [f"input{k}" for k in range(len(card.input_shapes))]
    wanted = choose_names(path, [name for name in names if name != LABELS], inputs)
    with opened(path, [LABELS, *wanted]) as (held, *members):
        given = held.take(held.shape[0])
        totals = [_count(member, shape, path) for member, shape in zip(members, card.input_shapes, strict=True)]
    if given.ndim != 1 or not len(given) or set(totals) != {len(given)}:
        raise DataError(
            f"{shown(path)} has {LABELS} of shape {list(given.shape)} for inputs of {totals} samples; give one label a sample"
        )
    labels, warnings = _label_array(given, card, n_classes, source)
    rows = evenly_spaced(len(labels), limit)
    for chosen, read in _array_rows(path, wanted, rows, card):  # before anything is run
        check_values(read, [f"{shown(path)}#{row}" for row in chosen])
    sample_names = tuple(f"{source}#{row}" for row in rows)
    return LabelledSet(source, sample_names, labels[rows], lambda: _array_pieces(path, wanted, rows, card), warnings)


def _count(member: Member, shape: tuple[int, ...], path: Path) -> int:
    """How many samples an array holds; DataError where its rows are no inputs of the model."""
    whole = np.broadcast_to(np.zeros((), member.dtype), member.shape)  # no memory, whatever the shape
    if member.shape[1:] != shape[1:] and fitting(whole, shape, path).shape != member.shape:
        raise DataError(
            f"{shown(path)} has inputs of shape {list(member.shape)}; save them as [N, {', '.join(map(str, shape[1:]))}]"
        )
    return len(fitting(whole, shape, path))


def _label_array(given: Array, card: ModelCard, n_classes: int, source: str) -> tuple[Array, tuple[str, ...]]:
    if given.dtype.kind == "U":
        return class_indices([str(name) for name in given], card.labels, n_classes, source)
    if given.dtype.kind not in "iu":
        raise DataError(f"{source} has {LABELS} of type {given.dtype}; give whole numbers, or names")
    indices = given.astype(np.int64)
    check_range(indices, n_classes, source)
    return indices, ()


def _array_pieces(path: Path, names: Sequence[str], rows: Sequence[int], card: ModelCard) -> Iterator[Piece]:
    source = shown(path.name)
    for chosen, inputs in _array_rows(path, names, rows, card):
        sample_names = [f"{source}#{row}" for row in chosen]
        samples = make_samples(inputs, sample_names, sample_names, source)
        yield Piece(samples.digest, lambda samples=samples: samples)  # type: ignore[misc]  # the default binds


def _array_rows(
    path: Path, names: Sequence[str], rows: Sequence[int], card: ModelCard
) -> Iterator[tuple[Sequence[int], list[Array]]]:
    """The numbers of rows and the inputs in them, a piece at a time."""
    step = _piece_size(card)
    with opened(path, names) as members:
        read = 0  # rows of the file so far
        for first in range(0, len(rows), step):
            chosen = rows[first : first + step]
            inputs = [_chosen(member, read, chosen) for member in members]
            read = chosen[-1] + 1
            yield chosen, inputs


def _chosen(member: Member, read: int, rows: Sequence[int]) -> Array:
    """Those rows, of a member of which `read` have been taken."""
    parts = []
    for row in rows:
        if row > read:
            member.skip(row - read)
        parts.append(member.take(1))
        read = row + 1
    joined = np.concatenate(parts)
    return as_float32(joined, range(len(joined)))


def _piece_size(card: ModelCard) -> int:
    sample_bytes = 4 * sum(math.prod(shape[1:]) for shape in card.input_shapes)
    return max(1, min(PIECE_SAMPLES, PIECE_BYTES // sample_bytes))
