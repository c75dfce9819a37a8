"""All int8 artifacts of a bundle, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

from edgeds import reference, twin
from edgeds.data.samples import evenly_spaced, take
from edgeds.errors import BundleError, ModelError
from edgeds.explain import Explanation, expect, explain
from edgeds.progress import Progress
from edgeds.quiet import quiet_imports
from edgeds.spec import RUNTIMES_OF, Artifact, Bundle, Precision, Runtime, Samples

STEP = "explain the layers"
# Every value of every layer is kept, for the float model, the PT2E graph and the runtime: 80 MB a sample of MobileNetV2.
MAX_SAMPLES = 8


def explain_bundle(bundle: Bundle, samples: Samples, progress: Progress) -> tuple[Explanation, ...]:
    """One explanation for each int8 artifact in each runtime that has a twin, on at most MAX_SAMPLES of the samples.

    An artifact with an operator that is not modelled is a warning. BundleError where nothing is quantized.
    """
    few = take(samples, evenly_spaced(len(samples), MAX_SAMPLES))
    quantized = reference.read_quantized(bundle, few)
    pairs = list(_pairs(bundle))
    progress.start(STEP, len(pairs) + 1)
    expected = expect(quantized.source.program, quantized.graph, few, quantized.recipe)
    found = []
    for done, (artifact, runtime) in enumerate(pairs):
        progress.update(STEP, done + 1)
        try:
            with quiet_imports():
                found.append(explain(artifact, bundle.path / artifact.path, runtime, expected))
        except ModelError as error:
            progress.warn(f"{artifact.name}@{runtime} is not explained: {error}")
    progress.finish(STEP)
    if not found:
        raise BundleError(f"no int8 artifact of {bundle.path.name} can be explained layer by layer; leave --layers out")
    return tuple(found)


def _pairs(bundle: Bundle) -> Iterator[tuple[Artifact, Runtime]]:
    for artifact in bundle.manifest.artifacts:
        if artifact.precision is Precision.INT8:
            for runtime in RUNTIMES_OF[artifact.format]:
                if runtime in twin.MODULES:
                    yield artifact, runtime
