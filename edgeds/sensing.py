"""Which layers quantization costs most: calibrated once, then measured layer by layer on held-out samples."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgeds import intake
from edgeds import program as programs
from edgeds.cache import Cache, digest
from edgeds.data.samples import evenly_spaced, take
from edgeds.lowering import toolchain_digest
from edgeds.progress import Progress, Silent, parts
from edgeds.quiet import quiet_imports
from edgeds.results import Sensitivity
from edgeds.spec import FloatModel, Model, Recipe, Samples

MEASURE = "measure layer by layer"
KIND = "sensitivity"
# Each costs as much as some hundred answers of the model: 16 take half a minute on MobileNetV2. Classifiers have many outputs, so that few
# samples make a steady SQNR.
SAMPLES = 16


def sensitivity(
    model: Model,
    calibration: str | os.PathLike[str] | None = None,
    *,
    validation: str | os.PathLike[str] | None = None,
    recipe: Recipe | str | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Sensitivity:
    """What quantizing each layer of a model alone costs, in dB, the most costly first; its weights and the value that it hands on apart too.

    Arguments, and what is raised, as for `edgeds.quantize`. The ranges are those of the recipe's observer; each layer is then measured alone
    (see edgeds.quantize.layer_costs) on at most 16 samples that were not calibrated on.
    """
    progress = progress or Silent()
    chosen = Recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
    source, calibrate = intake.take_in(model, _text(calibration), _text(validation), progress)
    return measured(source, calibrate, chosen, Cache() if cache else None, progress)


def _text(data: str | os.PathLike[str] | None) -> str | None:
    return None if data is None else os.fspath(data)


def measured(
    source: FloatModel, calibrate: Samples, recipe: Recipe, store: Cache | None, progress: Progress
) -> Sensitivity:
    """The same of a captured model, on samples of its validation."""
    samples = take(source.validation, evenly_spaced(len(source.validation), SAMPLES))
    if store is None:
        return _measure(source, calibrate, samples, recipe, progress)
    packages = toolchain_digest(("torch", "torchao"))
    key = digest(programs.digest(source.program), calibrate.digest, samples.digest, recipe.name, packages)
    made: list[Sensitivity] = []

    def fill(place: Path) -> None:
        made.append(_measure(source, calibrate, samples, recipe, progress))
        _save(made[0], place)

    place = store.get_or_make(KIND, key, fill)
    if not made:
        progress.start(MEASURE)
        progress.finish(MEASURE, "from the cache")
    return made[0] if made else _load(place)


def _measure(
    source: FloatModel, calibrate: Samples, samples: Samples, recipe: Recipe, progress: Progress
) -> Sensitivity:
    with quiet_imports():
        from edgeds.quantize.layer_costs import layer_costs
        from edgeds.quantize.pt2e import simulated
    module, warnings = simulated(source.program, calibrate, recipe, parts(progress))
    for warning in warnings:
        progress.warn(warning)
    progress.start(MEASURE, len(samples))
    found = layer_costs(module, samples, source.program.batch, lambda done, total: progress.update(MEASURE, done))
    progress.finish(MEASURE)
    return found


def _save(found: Sensitivity, place: Path) -> None:
    from pydantic import TypeAdapter

    # Python's own JSON reads back the infinities that it writes
    (place / "sensitivity.json").write_text(json.dumps(TypeAdapter(Sensitivity).dump_python(found)))


def _load(place: Path) -> Sensitivity:
    from pydantic import TypeAdapter

    return TypeAdapter(Sensitivity).validate_python(json.loads((place / "sensitivity.json").read_text()))
