"""FloatModel and calibration samples → QuantizedModel: quantized once, the cache knows what was quantized from the same things."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeds import program as programs
from edgeds.cache import Cache, digest
from edgeds.folders import temporary
from edgeds.lowering import toolchain_digest
from edgeds.progress import Progress, parts
from edgeds.quiet import quiet_imports
from edgeds.spec import DataCard, FloatModel, QuantizedModel, Recipe, Samples

STEP = "quantize"
KIND = "quantized"


def quantize(
    source: FloatModel, calibrate: Samples, recipe: Recipe, store: Cache | None, progress: Progress
) -> QuantizedModel:
    """Quantizes, or finds in `store` what was quantized before; warnings go to `progress` and into the model."""
    from edgeds.quantize.parameters import tensor_quantization

    progress.start(STEP)
    made: list[Path] = []

    def fill(target: Path) -> None:
        with quiet_imports():
            from edgeds.quantize.pt2e import quantize_program
        made.append(target)
        graph, _, warnings = quantize_program(source.program, calibrate, recipe, parts(progress))
        programs.save(graph, target / "graph")
        (target / "warnings").write_text("\n".join(warnings))

    with temporary("edgeds-quantize-") as place:
        if store is None:
            fill(place)
        else:
            place = store.get_or_make(KIND, _key(source, calibrate, recipe), fill)
        graph, warnings = programs.load(place / "graph"), tuple((place / "warnings").read_text().splitlines())
    progress.finish(STEP, "" if made else "from the cache")
    for warning in warnings:
        progress.warn(warning)
    source = replace(source, warnings=source.warnings + warnings)
    card = DataCard(calibrate.source, len(calibrate), calibrate.digest)
    return QuantizedModel(source, graph, recipe, card, tensor_quantization(graph))


def _key(source: FloatModel, calibrate: Samples, recipe: Recipe) -> str:
    return digest(
        programs.digest(source.program), calibrate.digest, recipe.name, toolchain_digest(("torch", "torchao"))
    )
