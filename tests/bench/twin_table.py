"""Every zoo model's twin against each runtime on real photos, whole and layer by layer: prints a table as Markdown. `make bench-twin`.

Layer by layer the twin gets the runtime's own input to each layer, where the runtime shows it (see edgeds.explain.visible).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import edgeds
from edgeds import twin
from edgeds.data.samples import evenly_spaced, take
from edgeds.explain import Explanation
from edgeds.explain.of_bundle import explain_bundle
from edgeds.models import ZOO
from edgeds.pipeline import quantize
from edgeds.progress import Silent
from edgeds.quiet import quiet_imports
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Bundle, Runtime, Samples
from tests.bench.photos import calibration_photos, validation_photos
from tests.bench.zoo_table import zoo_model

PHOTOS = 64
HEADER = (
    "| model | runtime | layers | photos | identical output bits % | largest difference | layers seen in the runtime | "
    "largest difference of one, steps | wrong layers | runtime s | twin s |"
)


def main() -> None:
    """All models, or those named on the command line, at their own input size."""
    names = sys.argv[1:] or list(ZOO)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        calibration, validation = calibration_photos(work / "calibration"), validation_photos(work / "validation")
        print(HEADER)
        print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        for name in names:
            quantized = quantize(zoo_model(name), calibration, validation=validation, recipe="fast")
            bundle = edgeds.export(quantized, work / name, precisions=("int8",))
            photos = quantized.source.validation
            for line in _rows(bundle, take(photos, evenly_spaced(len(photos), PHOTOS))):
                print(line, flush=True)


def _rows(bundle: Bundle, photos: Samples) -> Iterator[str]:
    explained = {found.subject: found for found in explain_bundle(bundle, photos, Silent())}
    for artifact in bundle.manifest.artifacts:
        for runtime in RUNTIMES_OF[artifact.format]:
            if runtime in twin.MODULES:
                yield _row(bundle, artifact, runtime, photos, explained[f"{artifact.name}@{runtime}"])


def _row(bundle: Bundle, artifact: Artifact, runtime: Runtime, photos: Samples, explained: Explanation) -> str:
    path = bundle.path / artifact.path
    start = time.perf_counter()
    expected = host.run(artifact, path, runtime, photos.inputs).outputs
    middle = time.perf_counter()
    with quiet_imports():
        model = twin.load(artifact, path, runtime)
    found = model.run(photos.inputs)
    end = time.perf_counter()
    identical, largest = compared(found, expected)
    cells = (
        bundle.manifest.model.name,
        str(runtime),
        str(len(model.layers)),
        str(len(photos)),
        f"{100 * identical:.6f}",
        f"{largest:g}",
        *_of_layers(explained),
        f"{middle - start:.1f}",
        f"{end - middle:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _of_layers(explained: Explanation) -> tuple[str, str, str]:
    """How many layers' values the runtime shows, how far one is from the twin's of the same input at most, and how many are wrong."""
    seen = [layer.runtime_error for layer in explained.layers if layer.runtime_error is not None]
    wrong = sum(bool(layer.wrong) for layer in explained.layers)
    return (str(len(seen)), str(max(seen)), str(wrong)) if seen else ("none", "–", str(wrong))


def compared(found: tuple[Array, ...], expected: tuple[Array, ...]) -> tuple[float, float]:
    """The share of output bits that are the same, and the largest difference of two floats."""
    wrong = sum(
        int(np.unpackbits((a.view(np.uint32) ^ b.view(np.uint32)).view(np.uint8)).sum())
        for a, b in zip(found, expected, strict=True)
    )
    largest = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    return 1 - wrong / sum(32 * a.size for a in expected), largest


if __name__ == "__main__":
    main()
