"""Every artifact in every runtime that can run it, compared with the PyTorch model and with each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeds import process
from edgeds import program as programs
from edgeds.cache import Cache, digest
from edgeds.drift.clipping import clipped
from edgeds.drift.limits import judge
from edgeds.drift.metrics import compare
from edgeds.eager import answers
from edgeds.errors import ToolError
from edgeds.lowering import toolchain_digest
from edgeds.progress import Progress
from edgeds.quantize.parameters import input_ranges, output_scales
from edgeds.run import host
from edgeds.spec import (
    RUNTIMES_OF,
    Array,
    Artifact,
    DataCard,
    DriftLimits,
    DriftReport,
    Precision,
    Program,
    RunRecord,
    Runtime,
    Samples,
    Validation,
)

STEP = "validate"
PACKAGE_OF = {
    Runtime.EXECUTORCH: ("executorch", "torch"),
    Runtime.ONNXRUNTIME: ("onnxruntime",),
    Runtime.LITERT: ("ai-edge-litert",),
    Runtime.TFLITE_RUNTIME: (),
}


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What PyTorch answers to the samples: the float model, and the PT2E graph where there is one.

    `scales` has the quantization step of each output, 0 for one that is not quantized; None where none is. `clipped` has a sentence for
    each input that the graph clips.
    """

    outputs: dict[str, tuple[Array, ...]]
    scales: tuple[float, ...] | None
    clipped: tuple[str, ...] = ()


def references(program: Program, graph: Program | None, samples: Samples, store: Cache | None) -> References:
    """Runs the float program, and the PT2E graph, on all samples."""
    outputs = {"float": _eager(program, samples, store)}
    if graph is None:
        return References(outputs, None)
    outputs["pt2e"] = _eager(graph, samples, store)
    scales = output_scales(graph)
    named = dict(zip(programs.input_names(graph), samples.inputs, strict=True))
    return References(outputs, scales if any(scales) else None, tuple(clipped(named, input_ranges(graph))))


def validate(
    artifacts: Sequence[Artifact],
    folder: Path,
    samples: Samples,
    reference: References,
    limits: DriftLimits,
    store: Cache | None,
    progress: Progress,
) -> Validation:
    """Runs the artifacts in `folder` on the samples, in every runtime, and compares. A runtime that is missing is a warning."""
    pairs = [(artifact, runtime) for artifact in artifacts for runtime in RUNTIMES_OF[artifact.format]]
    here, warnings = usable({runtime for _, runtime in pairs}, progress)
    doubts = (*_same_answers(reference.outputs["float"]), *reference.clipped)
    for warning in doubts:
        progress.warn(warning)
    if pairs and not here:
        raise ToolError(f"no runtime is left to validate in: {'; '.join(warnings)}")
    pairs = [(artifact, runtime) for artifact, runtime in pairs if runtime in here]
    records: dict[tuple[str, str], RunRecord] = {}
    progress.start(STEP, len(pairs))
    with process.pool() as pool:
        running = [pool.submit(_run, artifact, folder, runtime, samples, store) for artifact, runtime in pairs]
        for done, ((artifact, runtime), future) in enumerate(zip(pairs, running, strict=True)):
            records[artifact.name, runtime] = future.result()
            progress.update(STEP, done + 1)
    progress.finish(STEP)
    drift = tuple(_reports(pairs, records, reference))
    return Validation(
        drift=drift,
        runtimes={str(runtime): records[artifact.name, runtime].runtime_version for artifact, runtime in pairs},
        data=DataCard(samples.source, len(samples), samples.digest),
        violations=judge(drift, tuple(Precision), limits),
        warnings=(*doubts, *warnings),
    )


def _same_answers(outputs: tuple[Array, ...]) -> tuple[str, ...]:
    """A warning where the float model ignores its input: drift on such samples tells nothing."""
    count = len(outputs[0])
    if count < 2 or any((output != output[:1]).any() for output in outputs):
        return ()
    return (
        f"the float model gives the same answer to all {count} samples: drift on them means little; check the weights",
    )


def usable(runtimes: set[Runtime], progress: Progress) -> tuple[set[Runtime], tuple[str, ...]]:
    """Those of the runtimes that run here, and a warning for each of the others; tflite-runtime is set up."""
    found, warnings = set(), []
    for runtime in sorted(runtimes):
        step = f"set up {runtime}"
        if runtime is Runtime.TFLITE_RUNTIME:  # the only one that may have to be installed first
            progress.start(step)
        try:
            host.check(runtime)
            found.add(runtime)
        except ToolError as error:
            # without the command: it has paths of this machine, and the warning goes into the bundle
            warnings.append(f"not validated in {runtime}: {str(error).partition('; the command was ')[0]}")
            progress.warn(warnings[-1])
        if runtime is Runtime.TFLITE_RUNTIME:
            progress.finish(step)
    return found, tuple(warnings)


def _run(artifact: Artifact, folder: Path, runtime: Runtime, samples: Samples, store: Cache | None) -> RunRecord:
    if store is None:
        return host.run(artifact, folder / artifact.path, runtime, samples.inputs)
    key = digest(artifact.sha256, runtime, samples.digest, toolchain_digest(PACKAGE_OF[runtime]))
    kept: list[RunRecord] = []

    def fill(target: Path) -> None:
        record = host.run(artifact, folder / artifact.path, runtime, samples.inputs)
        kept.append(record)
        _save(target, record.outputs)
        (target / "version").write_text(record.runtime_version)

    # a cache of its own: it is not made for use by several threads
    with Cache(store.root) as own:
        place = own.get_or_make("runs", key, fill)
        version = (place / "version").read_text()
        return kept[0] if kept else RunRecord(artifact.sha256, runtime, version, "host", _load(place), ())


def _eager(program: Program, samples: Samples, store: Cache | None) -> tuple[Array, ...]:
    if store is None:
        return answers(program, samples)
    key = digest(programs.digest(program), samples.digest, toolchain_digest(("torch",)))
    return _load(store.get_or_make("eager", key, lambda target: _save(target, answers(program, samples))))


def _save(target: Path, outputs: tuple[Array, ...]) -> None:
    for k, output in enumerate(outputs):
        np.save(target / f"{k}.npy", output, allow_pickle=False)


def _load(place: Path) -> tuple[Array, ...]:
    files = sorted(place.glob("*.npy"), key=lambda file: int(file.stem))
    return tuple(np.load(file, allow_pickle=False) for file in files)


def _reports(
    pairs: Sequence[tuple[Artifact, Runtime]], records: dict[tuple[str, str], RunRecord], reference: References
) -> Iterator[DriftReport]:
    """pt2e against float; each artifact in each runtime against float and pt2e; each two runtimes of int8 artifacts."""
    outputs = {(artifact.name, runtime): records[artifact.name, runtime].outputs for artifact, runtime in pairs}
    if "pt2e" in reference.outputs:
        yield compare("pt2e", "float", reference.outputs["pt2e"], reference.outputs["float"], reference.scales)
    for artifact, runtime in pairs:
        subject = f"{artifact.name}@{runtime}"
        int8 = artifact.precision is Precision.INT8
        for name in ("float", "pt2e") if int8 else ("float",):
            scales = reference.scales if int8 else None
            yield compare(subject, name, outputs[artifact.name, runtime], reference.outputs[name], scales)
    int8_pairs = [(a.name, r) for a, r in pairs if a.precision is Precision.INT8]
    for first, second in itertools.combinations(int8_pairs, 2):
        names = [f"{artifact}@{runtime}" for artifact, runtime in (second, first)]
        yield compare(names[0], names[1], outputs[second], outputs[first], reference.scales)
