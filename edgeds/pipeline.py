"""Composes everything: what the command line and Python users call. Data flows one way:

Model → FloatModel → QuantizedModel → artifacts → validation → Bundle
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from edgeds import assembly, benching, crosscheck, devices, intake, keeping, lowering, mixing, reference, validation
from edgeds.bundle import check_writable, finish, open_bundle, write_bundle
from edgeds.cache import Cache
from edgeds.data import resolve
from edgeds.drift.limits import judge
from edgeds.errors import InputError, unknown_choice
from edgeds.explain import Explanation
from edgeds.explain.of_bundle import explain_bundle
from edgeds.export import EXPORTERS
from edgeds.export.refusal import refuse
from edgeds.lowering import Order
from edgeds.models import load_model
from edgeds.progress import Progress, Silent, step
from edgeds.quiet import quiet_imports
from edgeds.recipe import Recipe
from edgeds.results import Benchmark
from edgeds.run import emulator
from edgeds.run.emulator import TIME_LIMIT_S
from edgeds.spec import (
    Artifact,
    Bundle,
    DriftLimits,
    FloatModel,
    Format,
    Model,
    Precision,
    Program,
    QuantizedModel,
    Runtime,
    Samples,
    TfliteIo,
    Validation,
)

__all__ = [
    "bench",
    "capture",
    "explain",
    "export",
    "load_model",
    "load_quantized",
    "quantize",
    "save_quantized",
    "validate",
    "violations",
]

Data = str | os.PathLike[str] | None
Choice = TypeVar("Choice", bound=StrEnum)
_WORDS: dict[type[StrEnum], str] = {
    Format: "format",
    Precision: "precision",
    Runtime: "runtime",
    TfliteIo: "TFLite input and output type",
}


def capture(
    model: Model,
    calibration: Data = None,
    *,
    validation: Data = None,
    formats: Sequence[Format | str] = (),
    progress: Progress | None = None,
) -> FloatModel:
    """The float model with its validation samples: what an export in fp32 alone starts from. Arguments as for `quantize`."""
    source, _ = intake.take_in(model, _text(calibration), _text(validation), progress or Silent())
    _refuse(source, formats)
    return source


def quantize(
    model: Model,
    calibration: Data = None,
    *,
    validation: Data = None,
    recipe: Recipe | str = "best",
    keep_float: int | Sequence[str] = 0,
    formats: Sequence[Format | str] = (),
    cache: bool = True,
    progress: Progress | None = None,
) -> QuantizedModel:
    """PT2E static int8 quantization, once for all formats.

    `calibration` is a folder of images, a .npz or .npy file of preprocessed inputs, `random`, or None for photos that a dependency
    ships; `validation` likewise: without it a part of the calibration samples is held out, never the same ones. `recipe` is `fast`,
    `best`, or a name in full, see edgeds.recipe. `keep_float` names layers that stay in float, or says for how many of the most costly that is
    done, see `edgeds.sensitivity`. What one of `formats`
    is known not to take is refused before anything is calibrated. Raises ModelError for a model that cannot be captured, DataError for
    data that cannot be used, InputError for an unknown recipe.
    """
    chosen = Recipe(recipe) if isinstance(recipe, str) else recipe
    progress = progress or Silent()
    source, calibrate = intake.take_in(model, _text(calibration), _text(validation), progress)
    _refuse(source, formats)
    return mixing.quantize(source, calibrate, chosen, keep_float, _store(cache), progress)


def export(
    model: QuantizedModel | FloatModel,
    out: str | os.PathLike[str],
    *,
    formats: Sequence[Format | str] = tuple(Format),
    precisions: Sequence[Precision | str] | None = None,
    limits: DriftLimits | None = None,
    tflite_io: TfliteIo | str = TfliteIo.INT8,
    force: bool = False,
    cache: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Lowers to every format, validates each artifact, and writes the bundle `out`; `violations(bundle)` judges it.

    `precisions` are int8 for a QuantizedModel and fp32 for a FloatModel unless given; `workers` lower at once (default: one a core).
    Raises InputError for unknown names, BundleError where `out` cannot be written, ToolError where a converter or a
    runtime fails. Whatever is raised, `out` is as it was.
    """
    progress = progress or Silent()
    source, quantized = _parts(model)
    chosen, wanted = _choices(Format, formats), _precisions(quantized, precisions)
    io = _choices(TfliteIo, (tflite_io,))[0]
    if workers is not None and workers < 1:
        raise InputError(f"cannot lower with {workers} workers; give at least 1, or None for one a core")
    check_writable(Path(out), force)
    for format in chosen:
        EXPORTERS[format].check()
    _refuse(source, chosen)
    store = _store(cache)
    source, made = _programs(source, quantized, wanted, progress)
    orders = [_order(source, format, precision, made[precision], io) for format in chosen for precision in wanted]
    with write_bundle(Path(out), force) as folder:
        artifacts = lowering.lower_all(orders, folder, store, progress, workers)
        _finish(folder, source, quantized, artifacts, made, limits, store, progress)
    return open_bundle(Path(out), verify=False)


def save_quantized(
    quantized: QuantizedModel,
    out: str | os.PathLike[str],
    *,
    limits: DriftLimits | None = None,
    force: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
) -> Bundle:
    """Writes a quantized model as a bundle without artifacts; `load_quantized` reads it, to be exported later."""
    with write_bundle(Path(out), force) as folder:
        _finish(folder, quantized.source, quantized, (), {}, limits, _store(cache), progress or Silent())
    return open_bundle(Path(out), verify=False)


def load_quantized(path: str | os.PathLike[str]) -> QuantizedModel:
    """The quantized model in a bundle, with the samples in it. Raises BundleError."""
    opened = open_bundle(Path(path))
    return reference.read_quantized(opened, reference.read_samples(opened))


def validate(
    bundle: Bundle | str | os.PathLike[str],
    data: Data = None,
    *,
    limits: DriftLimits | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Repeats a bundle's validation from the bundle alone, on `data` or else on the samples in it; first checks every sha256.

    Everything is run anew: nothing is taken from the cache. Raises BundleError for a bundle that is damaged or was tampered with, DataError for data that cannot be used.
    """
    progress = progress or Silent()
    with step(progress, "check the bundle"):
        opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else Path(bundle))
    samples, warnings = _validation_data(opened, _text(data))
    for warning in warnings:
        progress.warn(warning)
    source = reference.read_float(opened, samples)
    graph = reference.read_quantized(opened, samples).graph if opened.manifest.recipe else None
    chosen = limits or opened.manifest.limits
    found, _ = _validated(opened.path, source, graph, opened.manifest.artifacts, chosen, None, progress)
    return replace(found, warnings=(*warnings, *found.warnings))


def bench(
    bundle: Bundle | str | os.PathLike[str],
    device_names: Sequence[str],
    *,
    runtimes: Sequence[Runtime | str] | None = None,
    precisions: Sequence[Precision | str] | None = None,
    threads: Sequence[int] = (1,),
    time_limit_s: float = TIME_LIMIT_S,
    layers: bool = False,
    save: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """Latencies of a bundle's artifacts on devices, each from running it there under emulation, with what it answered compared.

    `device_names` are of edgeds.devices.names(); `runtimes` and `precisions` are all that the bundle has unless given. One thread is
    emulated, more are projected. `time_limit_s` is for each run in the emulator; `layers` says whether each is run once more for the time of
    each layer. `save` keeps what was found in the bundle: latency.json, and a section of report.html. First checks every sha256. Raises InputError for
    unknown names and for what the bundle does not have, BundleError for one that is damaged, ToolError where a guest fails.
    """
    progress = progress or Silent()
    names = (device_names,) if isinstance(device_names, str) else tuple(dict.fromkeys(device_names))
    wish = benching.Wish(
        devices=tuple(devices.load(name) for name in names),
        runtimes=None if runtimes is None else _choices(Runtime, runtimes),
        precisions=None if precisions is None else _choices(Precision, precisions),
        threads=tuple(dict.fromkeys(threads)),
        time_limit_s=time_limit_s,
        layers=layers,
    )
    with step(progress, "check the bundle"):
        opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else Path(bundle))
    found = benching.bench(opened, wish, emulator, _store(cache), progress)
    if save:
        with step(progress, "write the latencies into the bundle"):
            keeping.keep(opened, found)
    return found


def explain(
    bundle: Bundle | str | os.PathLike[str], data: Data = None, *, progress: Progress | None = None
) -> tuple[Explanation, ...]:
    """What each layer of a bundle's int8 artifacts adds to the final error, and whether it is wrong, on `data` or the samples in it.

    Raises like `validate`, and BundleError where nothing is quantized.
    """
    opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else Path(bundle))
    samples, _ = _validation_data(opened, _text(data))
    return explain_bundle(opened, samples, progress or Silent())


def default_limits(source: FloatModel | QuantizedModel) -> DriftLimits:
    """What an export is judged by unless limits are given: with random weights accuracy means nothing and is not judged."""
    seeded = source.source.seeded if isinstance(source, QuantizedModel) else source.seeded
    return DriftLimits(min_int8_sqnr_db=-math.inf, min_int8_top1_agreement=0.0) if seeded else DriftLimits()


def violations(bundle: Bundle) -> tuple[str, ...]:
    """A sentence for each limit that a bundle exceeded when it was made."""
    return judge(bundle.manifest.drift, tuple(Precision), bundle.manifest.limits)


def _validation_data(opened: Bundle, data: str | None) -> tuple[Samples, tuple[str, ...]]:
    if data is None:
        return reference.read_samples(opened), ()
    card = opened.manifest.model
    return resolve(data, card.name, card.input_shapes, card.preprocess, "--data", card.input_names)


def _refuse(source: FloatModel, formats: Sequence[Format | str]) -> None:
    if formats:
        refuse(source.program, _choices(Format, formats))


def _parts(model: QuantizedModel | FloatModel) -> tuple[FloatModel, QuantizedModel | None]:
    if isinstance(model, QuantizedModel):
        return model.source, model
    if isinstance(model, FloatModel):
        return model, None
    raise InputError(
        f"cannot export a {type(model).__name__}; give what edgeds.quantize returns, or edgeds.capture for fp32 alone"
    )


def _programs(
    source: FloatModel, quantized: QuantizedModel | None, precisions: Sequence[Precision], progress: Progress
) -> tuple[FloatModel, dict[Precision, Program]]:
    """The program for each precision; `source` comes back with the warnings that making them gave."""
    made: dict[Precision, Program] = {}
    if quantized is not None:
        made[Precision.INT8] = quantized.graph
    if Precision.FP32 in precisions:
        with quiet_imports():
            from edgeds.quantize.pt2e import float_program_for_export
        made[Precision.FP32], warnings = float_program_for_export(source.program, source.validation)
        new = tuple(warning for warning in warnings if warning not in source.warnings)
        for warning in new:
            progress.warn(warning)
        source = replace(source, warnings=source.warnings + new)
    return source, made


def _order(source: FloatModel, format: Format, precision: Precision, program: Program, tflite_io: TfliteIo) -> Order:
    file = f"{_file_stem(source)}-{precision}{EXPORTERS[format].SUFFIX}"
    return Order(format, precision, program, file, tflite_io)


def _finish(
    folder: Path,
    source: FloatModel,
    quantized: QuantizedModel | None,
    artifacts: tuple[Artifact, ...],
    made: Mapping[Precision, Program],
    limits: DriftLimits | None,
    store: Cache | None,
    progress: Progress,
) -> None:
    """Validates the artifacts in `folder`, which were lowered from `made`, and writes everything else that belongs there."""
    chosen = limits or default_limits(source)
    graph = quantized.graph if quantized else None
    found, references = _validated(folder, source, graph, artifacts, chosen, store, progress)
    doubts = crosscheck.require_right(artifacts, found.drift, made, source.validation, chosen, progress)
    found = replace(found, warnings=(*found.warnings, *doubts))
    with step(progress, "write the bundle"):
        content = assembly.Content(source, quantized, artifacts, found, references, chosen)
        finish(folder, assembly.fill(folder, content))


def _validated(
    folder: Path,
    source: FloatModel,
    graph: Program | None,
    artifacts: tuple[Artifact, ...],
    limits: DriftLimits,
    store: Cache | None,
    progress: Progress,
) -> tuple[Validation, validation.References]:
    with step(progress, "run the PyTorch references"):
        references = validation.references(source.program, graph, source.validation, store)
    return validation.validate(artifacts, folder, source.validation, references, limits, store, progress), references


def _precisions(quantized: QuantizedModel | None, given: Sequence[Precision | str] | None) -> tuple[Precision, ...]:
    chosen = _choices(Precision, ((Precision.INT8,) if quantized else (Precision.FP32,)) if given is None else given)
    if Precision.INT8 in chosen and quantized is None:
        raise InputError("an int8 export needs a quantized model; call edgeds.quantize first, or choose fp32")
    return chosen


def _choices(kind: type[Choice], given: Sequence[Choice | str]) -> tuple[Choice, ...]:
    """The members of a closed set that were named, in its own order, each once; a single name is taken as one.

    Raises InputError for an unknown name, or none.
    """
    if isinstance(given, str):
        given = (given,)
    for name in given:
        if name not in list(kind):
            raise unknown_choice(_WORDS[kind], str(name), list(kind))
    if not given:
        raise InputError(f"no {_WORDS[kind]} given; choose from {', '.join(kind)}")
    return tuple(member for member in kind if member in given)


def _file_stem(source: FloatModel) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in source.card.name).strip(".-")
    return kept or "model"


def _text(data: Data) -> str | None:
    return None if data is None else os.fspath(data)


def _store(cache: bool) -> Cache | None:
    return Cache() if cache else None
