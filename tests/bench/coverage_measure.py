"""One net through edgeds' public functions, as a user would call them: its row. A process of its own, see coverage.py."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import edgeds
from edgeds.errors import EdgedsError, InputError
from edgeds.pipeline import quantize
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Artifact, Bundle, DriftReport, Format, Precision, QuantizedModel, Samples
from tests.bench.coverage_nets import SIZE, Net
from tests.bench.coverage_row import Agreement, Cell, Failure, Row, cell, to_json

REPEATS = 30  # runs of one sample that a time is the median of
LIMIT_S = 1800  # for one net: a converter that hangs must not hold up the others
CURRENT = ("executorch", "onnxruntime", "litert")  # tflite-runtime's kernels are of 2023


@dataclass(frozen=True, slots=True)
class _Measured:
    """The cells of a net, the drift that they are from, and what failed where no single format did."""

    cells: tuple[Cell, ...]
    drift: tuple[DriftReport, ...]
    failure: Failure | None = None


def measure(net: Net, photos: Path, quick: bool, code: str) -> Row:
    """The net's row. `photos` is a folder of `few_photos`. `quick` leaves out fp32 and times. Whatever is raised becomes the row's failure."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            quantized = _quantized(net, photos)
        except Exception as error:  # noqa: BLE001 - a net that breaks edgeds is a row, not the end of the bench
            return Row(net.name, code, quick, _cpu_seconds(), failure=failure(error))
        found = _formats(quantized, Path(temporary), quick)
    pt2e = next((r.sqnr_db for r in found.drift if (r.subject, r.reference) == ("pt2e", "float")), None)
    return Row(net.name, code, quick, _cpu_seconds(), found.cells, pt2e, _between(found.drift), found.failure)


def _cpu_seconds() -> float:
    """What this process and those that it started have used: the wall's time depends on what else the machine does."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def failure(error: BaseException) -> Failure:
    """An error in one line. InputError is on purpose: the message says what cannot be used; a ToolError says that a tool broke."""
    text = str(error) if isinstance(error, EdgedsError) else f"{type(error).__name__}: {error}"
    text = text.partition("; the whole log is ")[0].partition("; the command was ")[0]
    return Failure(" ".join(text.split()), isinstance(error, InputError))


def _quantized(net: Net, photos: Path) -> QuantizedModel:
    model = edgeds.load_model(net.ref, input_shapes=((1, 3, SIZE, SIZE),))
    return quantize(model, photos / "calibration", validation=photos / "validation", recipe="fast", cache=False)


def _formats(quantized: QuantizedModel, work: Path, quick: bool) -> _Measured:
    """All formats from one export where that works, else from one export each, to see which of them fail."""
    try:
        bundle = _export(quantized, work / "all", tuple(Format), quick)
    except Exception as error:  # noqa: BLE001 - as in measure
        apart = _one_by_one(quantized, work, quick)
        broken = any(cell.failure for cell in apart.cells)
        return apart if broken else replace(apart, failure=failure(error))
    cells = tuple(_cell(bundle, format, quantized, quick) for format in Format)
    return _Measured(cells, bundle.manifest.drift)


def _one_by_one(quantized: QuantizedModel, work: Path, quick: bool) -> _Measured:
    cells: list[Cell] = []
    drift: list[DriftReport] = []
    for format in Format:
        try:
            bundle = _export(quantized, work / format, (format,), quick)
            cells.append(_cell(bundle, format, quantized, quick))
            drift += bundle.manifest.drift
        except Exception as error:  # noqa: BLE001 - as in measure
            cells.append(Cell(format, failure=failure(error)))
    return _Measured(tuple(cells), tuple(drift))


def _export(quantized: QuantizedModel, out: Path, formats: Sequence[Format], quick: bool) -> Bundle:
    precisions = (Precision.INT8,) if quick else tuple(Precision)
    # one worker: two nets are measured at a time
    return edgeds.export(quantized, out, formats=formats, precisions=precisions, cache=False, workers=1)


def _cell(bundle: Bundle, format: Format, quantized: QuantizedModel, quick: bool) -> Cell:
    artifacts = {a.precision: a for a in bundle.manifest.artifacts if a.format is format}
    agreements = tuple(_agreements(bundle.manifest.drift, artifacts[Precision.INT8]))
    found = cell(artifacts[Precision.INT8], agreements, quantized.graph)
    if quick:
        return found
    samples = quantized.source.validation
    int8_ms, fp32_ms = (_milliseconds(artifacts[p], bundle, samples) for p in (Precision.INT8, Precision.FP32))
    return replace(found, int8_ms=int8_ms, fp32_ms=fp32_ms)


def _agreements(drift: Sequence[DriftReport], artifact: Artifact) -> Iterator[Agreement]:
    sqnr_db = {(report.subject, report.reference): report.sqnr_db for report in drift}
    for runtime in RUNTIMES_OF[artifact.format]:
        subject = f"{artifact.name}@{runtime}"
        if (subject, "float") in sqnr_db:
            yield Agreement(str(runtime), sqnr_db[subject, "float"], sqnr_db[subject, "pt2e"])


def _milliseconds(artifact: Artifact, bundle: Bundle, samples: Samples) -> float:
    """The median time of one inference, in the format's first runtime, in one thread."""
    runtime = RUNTIMES_OF[artifact.format][0]
    first = tuple(array[:1] for array in samples.inputs)
    return statistics.median(host.run(artifact, bundle.path / artifact.path, runtime, first, repeats=REPEATS).wall_ms)


def _between(drift: Sequence[DriftReport]) -> float | None:
    """The worst SQNR between two current runtimes."""
    sqnr_db = {(_runtime(r.subject), _runtime(r.reference)): r.sqnr_db for r in drift}
    pairs = [sqnr_db.get(pair, sqnr_db.get(pair[::-1])) for pair in itertools.combinations(CURRENT, 2)]
    known = [value for value in pairs if value is not None]
    return min(known) if len(known) == len(pairs) else None


def _runtime(subject: str) -> str:
    artifact, _, runtime = subject.partition("@")
    return runtime if artifact.endswith(f"-{Precision.INT8}") else subject


def main() -> None:
    """`REF PHOTOS full|quick CODE`: prints the row as JSON on stdout; everything else goes to stderr."""
    from tests.bench.external_models import make_importable

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    make_importable()
    ref, photos, mode, code = sys.argv[1:]
    signal.alarm(LIMIT_S)  # ends this process, and with it those that it waits for
    row = measure(Net(ref, ""), Path(photos), mode == "quick", code)
    print(to_json(row), file=answer, flush=True)


if __name__ == "__main__":
    main()
