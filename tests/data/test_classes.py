"""Names of classes become indices, or one clear line."""

from __future__ import annotations

import pytest

from edgeds.data.classes import class_indices
from edgeds.errors import DataError

LABELS = ("ant", "bee", "crane", "dog", "crane")


def test_names_that_are_the_models_labels_are_their_indices() -> None:
    indices, warnings = class_indices(["dog", "ant", "dog"], LABELS, 5, "set")
    assert (indices.tolist(), indices.dtype.name, warnings) == ([3, 0, 3], "int64", ())


@pytest.mark.parametrize("labels", [LABELS, ()])
def test_whole_numbers_are_indices(labels: tuple[str, ...]) -> None:
    indices, warnings = class_indices(["4", "00", "4"], labels, 5, "set")
    assert (indices.tolist(), warnings) == ([4, 0, 4], ())


def test_labels_that_are_numbers_are_names_first() -> None:
    assert class_indices(["2", "1"], ("1", "2"), 2, "set")[0].tolist() == [1, 0]


def test_without_labels_as_many_names_as_classes_are_taken_in_alphabetical_order_with_a_warning() -> None:
    indices, (warning,) = class_indices(["n03", "n01", "n02", "n01"], (), 3, "imagenet")
    assert indices.tolist() == [2, 0, 1, 0]
    assert warning == (
        "imagenet: the model's classes have no names, so the data's are taken in alphabetical order, n01 as class 0 and n03 as class 2"
    )


@pytest.mark.parametrize(
    ("given", "labels", "message"),
    [
        (
            ["ant", "bees"],
            LABELS,
            (
                "set: class 'bees' is none of the model's 5 labels (like bee); "
                "name the data's classes as the bundle's labels.txt does, or by index, 0 to 4"
            ),
        ),
        (
            ["ant", "n01440764"],
            LABELS,
            (
                "set: class 'n01440764' is none of the model's 5 labels (like ant, bee, crane); "
                "name the data's classes as the bundle's labels.txt does, or by index, 0 to 4"
            ),
        ),
        (
            ["crane"],
            LABELS,
            "set: 2 of the model's classes are called 'crane'; name the data's classes by index, 0 to 4",
        ),
        (["5"], (), "set has class 5, but the model has classes 0 to 4; mend its labels"),
        (
            ["x", "y"],
            (),
            (
                "set has 2 classes (like x), but the model has 5 without names; "
                "name the data's classes by index, 0 to 4, or export the model with --labels"
            ),
        ),
    ],
)
def test_a_class_that_the_model_does_not_have_is_one_line(
    given: list[str], labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError) as raised:
        class_indices(given, labels, 5, "set")
    assert str(raised.value) == message
