"""What a labelled set calls its classes → the model's class indices."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from edgeds.errors import DataError
from edgeds.spec import Array


def class_indices(
    given: Sequence[str], labels: Sequence[str], n_classes: int, source: str
) -> tuple[Array, tuple[str, ...]]:
    """The index of each sample's class, int64 [N], and warnings. `given` has a name a sample, `labels` are the model's, by index.

    Names that all stand in `labels` are those; else whole numbers are indices. A model without labels takes as many names as it has classes, in
    alphabetical order, as torchvision's ImageFolder does; that is a warning. DataError for a name that is no class of the model, or several.
    """
    names = sorted(set(given))
    warnings: tuple[str, ...] = ()
    if labels and set(names) <= set(labels):
        table = _by_label(names, labels, source)
    elif all(map(_is_whole, names)):
        table = {name: int(name) for name in names}
    elif labels:
        raise _unknown(next(name for name in names if name not in labels), labels, source)
    else:
        table, warnings = _alphabetical(names, n_classes, source)
    indices = np.array([table[name] for name in given], np.int64)
    check_range(indices, n_classes, source)
    return indices, warnings


def check_range(indices: Array, n_classes: int, source: str) -> None:
    """DataError for an index that is no class of the model's."""
    outside = indices[(indices < 0) | (indices >= n_classes)]
    if len(outside):
        raise DataError(
            f"{source} has class {outside[0]}, but the model has classes 0 to {n_classes - 1}; mend its labels"
        )


def _is_whole(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _by_label(names: Sequence[str], labels: Sequence[str], source: str) -> dict[str, int]:
    for name in names:
        if (count := list(labels).count(name)) > 1:
            raise DataError(
                f"{source}: {count} of the model's classes are called {name!r}; name the data's classes by index, 0 to {len(labels) - 1}"
            )
    return {name: list(labels).index(name) for name in names}


def _unknown(name: str, labels: Sequence[str], source: str) -> DataError:
    close = get_close_matches(name, labels, n=3, cutoff=0.6) or list(labels[:3])
    return DataError(
        f"{source}: class {name!r} is none of the model's {len(labels)} labels (like {', '.join(close)}); "
        f"name the data's classes as the bundle's labels.txt does, or by index, 0 to {len(labels) - 1}"
    )


def _alphabetical(names: Sequence[str], n_classes: int, source: str) -> tuple[dict[str, int], tuple[str, ...]]:
    if len(names) != n_classes:
        raise DataError(
            f"{source} has {len(names)} classes (like {names[0]}), but the model has {n_classes} without names; "
            f"name the data's classes by index, 0 to {n_classes - 1}, or export the model with --labels"
        )
    warning = (
        f"{source}: the model's classes have no names, so the data's are taken in alphabetical order, "
        f"{names[0]} as class 0 and {names[-1]} as class {n_classes - 1}"
    )
    return {name: k for k, name in enumerate(names)}, (warning,)
