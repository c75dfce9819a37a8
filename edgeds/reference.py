"""The part of a bundle that every comparison goes back to: the float program, the PT2E graph, and samples with their outputs.

reference/float.json, float.safetensors     the model as PyTorch computes it
reference/graph.json, graph.safetensors     the PT2E graph, where something was quantized
samples/input_K.npy                         [N, ...], as PyTorch takes them, without the batch axis
samples/float_output_K.npy                  what the float model answers, [N, ...]
samples/pt2e_output_K.npy                   what the PT2E graph answers
samples/names.json                          where each sample came from
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgeds import program as programs
from edgeds.data.samples import evenly_spaced, make_samples, take
from edgeds.errors import BundleError
from edgeds.recipe import Recipe
from edgeds.spec import Array, Bundle, FloatModel, Manifest, Program, QuantizedModel, Samples

# Enough to check a phone's first run and to repeat the validation roughly, at 10 MB for inputs of 224 x 224.
MAX_SAMPLES = 16


def write_programs(folder: Path, model: FloatModel, graph: Program | None) -> None:
    """Writes the programs into the bundle at `folder`."""
    (folder / "reference").mkdir()
    programs.save(model.program, folder / "reference" / "float")
    if graph is not None:
        programs.save(graph, folder / "reference" / "graph")


def write_samples(folder: Path, samples: Samples, outputs: dict[str, tuple[Array, ...]]) -> None:
    """Writes at most MAX_SAMPLES of the validation samples, evenly spaced, with what each reference (`float`, `pt2e`) answers."""
    rows = evenly_spaced(len(samples), MAX_SAMPLES)
    kept = take(samples, rows)
    place = folder / "samples"
    place.mkdir()
    arrays = {f"input_{k}": array for k, array in enumerate(kept.inputs)}
    for reference, arrays_of in outputs.items():
        arrays |= {f"{reference}_output_{k}": array[rows] for k, array in enumerate(arrays_of)}
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    text = {"source": samples.source, "names": kept.names, "groups": kept.groups}
    (place / "names.json").write_text(json.dumps(text, indent=1) + "\n")


def read_samples(bundle: Bundle) -> Samples:
    """The samples in a bundle. Raises BundleError where they are damaged."""
    place = bundle.path / "samples"
    try:
        text = json.loads((place / "names.json").read_text())
        count = len(bundle.manifest.model.input_shapes)
        arrays = [np.load(place / f"input_{k}.npy", allow_pickle=False) for k in range(count)]
        return make_samples(arrays, text["names"], text["groups"], text["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"cannot read the samples of {bundle.path.name}: {error}; give --data, or export anew"
        ) from error


def read_outputs(bundle: Bundle) -> dict[str, tuple[Array, ...]]:
    """What the float model, and the PT2E graph where there is one, answer to the samples in a bundle. Raises BundleError."""
    manifest, place = bundle.manifest, bundle.path / "samples"
    names = ("float", "pt2e") if manifest.recipe else ("float",)
    try:
        return {
            name: tuple(
                np.load(place / f"{name}_output_{k}.npy", allow_pickle=False)
                for k in range(len(manifest.model.output_shapes))
            )
            for name in names
        }
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read the samples of {bundle.path.name}: {error}; export it anew") from error


def read_float(bundle: Bundle, validation: Samples) -> FloatModel:
    """The float model of a bundle, to be compared on these samples."""
    program = programs.load(bundle.path / "reference" / "float")
    card = bundle.manifest.model
    _require_same(bundle, "model.input_shapes", card.input_shapes, program.input_shapes)
    _require_same(bundle, "model.output_shapes", card.output_shapes, programs.output_shapes(program))
    return FloatModel(bundle.manifest.model, program, validation, bundle.manifest.seeded, bundle.manifest.warnings)


def read_quantized(bundle: Bundle, validation: Samples) -> QuantizedModel:
    """The quantized model of a bundle. Raises BundleError where it has none."""
    from edgeds.quantize.parameters import tensor_quantization

    manifest: Manifest = bundle.manifest
    if manifest.recipe is None or manifest.calibration is None:
        raise BundleError(f"{bundle.path.name} holds no quantized model; export it with --precision int8")
    graph = programs.load(bundle.path / "reference" / "graph")
    source = read_float(bundle, validation)
    _require_same(bundle, "quantization", manifest.quantization, tensor_quantization(graph))
    return QuantizedModel(source, graph, Recipe(manifest.recipe), manifest.calibration, manifest.quantization)


def _require_same(bundle: Bundle, what: str, said: object, is_so: object) -> None:
    """Raises BundleError where the manifest says something else of a program than what stands in it."""
    if said != is_so:
        raise BundleError(
            f"{bundle.path.name}: its manifest was changed, {what} is not that of the programs in reference/; copy the bundle again, or export anew"
        )
