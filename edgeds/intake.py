"""What the user names → what an export starts from: the captured model, its validation samples, and the calibration samples."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

from edgeds.data import assume_preprocess, assumed_warning, overlap, resolve, split
from edgeds.data.images import photo_size
from edgeds.errors import InputError
from edgeds.progress import Progress, step
from edgeds.spec import FloatModel, Model, ModelCard, Samples

SEEDED_WARNING = (
    "the weights are random: sizes and latencies are real, but accuracy means nothing and is not judged; give --weights"
)


def take_in(
    model: Model, calibration: str | None, validation: str | None, progress: Progress
) -> tuple[FloatModel, Samples]:
    """The float model with its validation samples, and the calibration samples; warnings go to `progress` and into the model.

    A model with random weights gets its batch-norm statistics from the calibration samples, in place. Branches that a model has for
    training only are merged, in a copy: see edgeds.models.reparameterize.
    """
    from edgeds.models.capture import capture, card
    from edgeds.models.reparameterize import reparameterize
    from edgeds.models.statistics import set_batch_norm_statistics

    model, assumed = _with_preprocess(model, calibration)
    with step(progress, "load the data"):
        calibrate, held_out, warnings = _data(model, calibration, validation)
    warnings = _unique((*assumed, *warnings, *((SEEDED_WARNING,) if model.seeded else ())))
    for warning in warnings:
        progress.warn(warning)
    with step(progress, "capture the model"):
        if model.seeded:
            set_batch_norm_statistics(model.module, calibrate, model.input_shapes[0][0])
        model, notes = reparameterize(model)
        program = capture(model)
    for note in notes:
        progress.warn(note)
    warnings += notes
    found = card(model, program)
    _check_labels(found)
    return FloatModel(found, program, held_out, model.seeded, warnings), calibrate


def _with_preprocess(model: Model, calibration: str | None) -> tuple[Model, tuple[str, ...]]:
    """A model that takes photos and does not say how gets the usual preprocessing, so that it stands in the bundle."""
    size = photo_size(model.input_shapes)
    is_array = calibration is not None and re.search(r"\.np[yz]$", calibration.lower())
    if model.preprocess is not None or size is None or size.channels != 3 or is_array or calibration == "random":
        return model, ()
    preprocess = assume_preprocess(model.input_shapes[0])
    return replace(model, preprocess=preprocess), (assumed_warning(preprocess),)


def input_names(model: Model) -> tuple[str, ...]:
    """What the model's forward calls its inputs; empty where its signature does not say it for each."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.module.forward).parameters.values()
    names = tuple(parameter.name for parameter in parameters if parameter.kind in kinds)[: len(model.input_shapes)]
    return names if len(names) == len(model.input_shapes) else ()


def _data(model: Model, calibration: str | None, validation: str | None) -> tuple[Samples, Samples, tuple[str, ...]]:
    names = input_names(model)
    samples, warnings = resolve(calibration, model.name, model.input_shapes, model.preprocess, input_names=names)
    if validation is None:
        return *split(samples), warnings
    flag = "--validation"
    held_out, more = resolve(validation, model.name, model.input_shapes, model.preprocess, flag, names)
    same = overlap(samples, held_out)
    if same:
        more += (
            f"{flag}: {len(same)} of {len(held_out)} samples are also calibrated on (like {same[0]}); drift on them looks too good",
        )
    return samples, held_out, warnings + more


def _check_labels(card: ModelCard) -> None:
    if len(card.output_shapes) != 1 or len(card.output_shapes[0]) != 2 or not card.labels:
        return  # no labels, or nothing that they would have to fit
    n_classes = card.output_shapes[0][1]
    if len(card.labels) != n_classes:
        raise InputError(
            f"{card.name} answers with {n_classes} scores, but there are {len(card.labels)} labels; "
            "give --labels with as many lines, in the model's order"
        )


def _unique(warnings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))
