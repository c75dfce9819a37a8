"""Never wrong in silence: an artifact that is further from the float model than rounding explains is traced to the layer where it starts.

Converters have bugs that no error tells of. What gives them away is that the PT2E graph, or another runtime, answers better from the
same numbers. A second artifact, whose layers can be watched, then says which layer does not compute what it should.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeds import lowering
from edgeds.data.samples import evenly_spaced, take
from edgeds.drift.limits import precision_of
from edgeds.drift.metrics import compare
from edgeds.eager import answers
from edgeds.errors import LimitError
from edgeds.export import EXPORTERS
from edgeds.export.leftovers import instead
from edgeds.export.taps import returned, tapped
from edgeds.layers import layer_errors
from edgeds.lowering import Order
from edgeds.program import output_nodes
from edgeds.progress import Progress, Silent, step
from edgeds.run import host
from edgeds.spec import (
    RUNTIMES_OF,
    Array,
    Artifact,
    DriftLimits,
    DriftReport,
    LayerError,
    Precision,
    Program,
    Runtime,
    Samples,
    TfliteIo,
)

# An int8 artifact that is so much worse than another, or than the PT2E graph, is looked at layer by layer.
SUSPECT_DB = 1.0
# What 8 bits resolve of a full-scale sine, 6.02 · 8 + 1.76 dB (W. R. Bennett, 1948): who is nearer to the PT2E graph computes what it does.
SAME_DB = 50.0
# A tenth of the signal. Where another runtime is the same as the PT2E graph, no rounding of layers makes that of it.
FAR_DB = 20.0
# A float artifact that rounds as PyTorch does is over 90 dB, even of deep random nets.
WRONG_FP32_DB = 60.0
# In quantization steps, and for float layers in thousandths of the largest value. Runtimes round each layer for themselves: a step or two.
MOST_BY_ROUNDING = 3.0
# So much nearer to the PT2E graph than the artifact, a watched one does not have its fault: half of the error, on other samples.
REPAIRED_DB = 6.0
MAX_SAMPLES = 4
WAY_OUT = "leave that --format out (--max-spread inf would write it, wrong as it is)"


@dataclass(frozen=True, slots=True)
class Watch:
    """What the layers of a second artifact compute from their own inputs, and how far its outputs are from the program's."""

    errors: tuple[LayerError, ...]
    sqnr_db: float


def require_right(
    artifacts: Sequence[Artifact],
    drift: Sequence[DriftReport],
    programs: Mapping[Precision, Program],
    samples: Samples,
    limits: DriftLimits,
    progress: Progress,
) -> tuple[str, ...]:
    """Raises LimitError naming the layer where an artifact starts to be wrong, or saying that none can be named.

    Returns a warning for each that lies apart although every layer is right up to rounding, which depth has amplified then.
    """
    warnings = []
    for artifact, runtime, apart in suspects(artifacts, drift, limits):
        subject = f"{artifact.name}@{runtime}"
        with step(progress, f"look for the layer where {subject} goes wrong"):
            watch = _watched(artifact, runtime, programs[artifact.precision], samples)
        if wrong := next((error for error in watch.errors if error.max_error > MOST_BY_ROUNDING), None):
            raise LimitError(
                f"{subject} is wrong ({apart}): {_said(wrong)}. That is no rounding but a fault of the converter or the runtime; "
                f"{instead(wrong.operator)}; or {WAY_OUT}"
            )
        if doubt := _doubt(subject, drift, watch):
            raise LimitError(
                f"{subject} is wrong ({apart}), and no layer can be named: each of {len(watch.errors)} is right up to rounding in an "
                f"artifact that returns them all, but {doubt}; {WAY_OUT}"
            )
        warnings.append(
            f"{subject}: {apart}, but each of its {len(watch.errors)} layers is right up to rounding: what lies between is single steps that add up"
        )
        progress.warn(warnings[-1])
    return tuple(warnings)


def suspects(
    artifacts: Sequence[Artifact], drift: Sequence[DriftReport], limits: DriftLimits
) -> Iterator[tuple[Artifact, Runtime, str]]:
    """Each artifact in a runtime that answers worse than rounding explains, and how much worse."""
    against_float = {report.subject: report.sqnr_db for report in drift if report.reference == "float"}
    for artifact in artifacts:
        int8 = artifact.precision is Precision.INT8
        same = [
            db
            for subject, db in against_float.items()
            if subject == "pt2e" or precision_of(subject) is artifact.precision
        ]
        for runtime in RUNTIMES_OF[artifact.format]:
            subject = f"{artifact.name}@{runtime}"
            found_db = against_float.get(subject)
            if found_db is None or (int8 and (limits.max_runtime_spread_db == math.inf or _is_same(subject, drift))):
                continue
            if int8 and max(same) > found_db + SUSPECT_DB:
                yield artifact, runtime, f"{found_db:.1f} dB against float where {max(same):.1f} dB are possible"
            elif int8 and _is_alone(subject, drift):
                yield (
                    artifact,
                    runtime,
                    f"{_pt2e_db(drift)[subject]:.1f} dB against the PT2E graph, which another runtime equals",
                )
            elif not int8 and found_db < min(WRONG_FP32_DB, limits.min_fp32_sqnr_db):
                yield (
                    artifact,
                    runtime,
                    f"{found_db:.1f} dB against float, where rounding leaves over {WRONG_FP32_DB:g} dB",
                )


def _pt2e_db(drift: Sequence[DriftReport]) -> dict[str, float]:
    """How near each runtime is to the PT2E graph."""
    return {report.subject: report.sqnr_db for report in drift if report.reference == "pt2e"}


def _is_same(subject: str, drift: Sequence[DriftReport]) -> bool:
    """Whether a runtime answers as the PT2E graph does, but for single steps; then it has no fault of its own."""
    for report in drift:
        if (report.subject, report.reference) == (subject, "pt2e"):
            is_step = report.max_lsb is not None and report.max_lsb <= 1 and not report.output_sqnr_db
            return is_step or report.sqnr_db >= SAME_DB
    return False


def _is_alone(subject: str, drift: Sequence[DriftReport]) -> bool:
    """Whether a runtime is far from the PT2E graph while one of another converter is the same as it."""
    found = _pt2e_db(drift)
    artifact = subject.partition("@")[0]
    others = [db for other, db in found.items() if other.partition("@")[0] != artifact]
    return found.get(subject, math.inf) < FAR_DB and max(others, default=-math.inf) >= SAME_DB


def _doubt(subject: str, drift: Sequence[DriftReport], watch: Watch) -> str:
    """Why right layers do not explain what a suspect answers; empty where they do."""
    reference = "float" if precision_of(subject) is Precision.FP32 else "pt2e"
    own_db = next((r.sqnr_db for r in drift if (r.subject, r.reference) == (subject, reference)), None)
    if own_db is not None and watch.sqnr_db > own_db + REPAIRED_DB:
        return (
            f"that one has another answer: {watch.sqnr_db:.1f} dB against PyTorch instead of {own_db:.1f} dB. The converter has a fault "
            "that goes away where layers are watched"
        )
    if _is_alone(subject, drift):
        return "single steps do not add up to a tenth of the values where another runtime equals the PT2E graph"
    return ""


def _watched(artifact: Artifact, runtime: Runtime, program: Program, samples: Samples) -> Watch:
    """Lowers and runs a second artifact that returns what stands between its layers, on a few samples."""
    few = take(samples, evenly_spaced(len(samples), MAX_SAMPLES))
    name = f"watched{EXPORTERS[artifact.format].SUFFIX}"
    order = Order(artifact.format, artifact.precision, tapped(program), name, TfliteIo.INT8)
    with tempfile.TemporaryDirectory(prefix="edgeds-watched-") as temporary:
        (watched,) = lowering.lower_all([order], Path(temporary), None, Silent(), 1)
        record = host.run(watched, Path(temporary) / watched.path, runtime, few.inputs)
    own = _own_outputs(program, record.outputs)
    report = compare(f"watched {artifact.name}@{runtime}", "PyTorch", own, answers(program, few), None)
    return Watch(layer_errors(program, few, record.outputs), report.sqnr_db)


def _own_outputs(program: Program, values: Sequence[Array]) -> tuple[Array, ...]:
    """The program's outputs among those of the tapped one."""
    names = returned(program)
    return tuple(values[names.index(node.name)] for node in output_nodes(program))


def _said(error: LayerError) -> str:
    place = f" of {error.module}" if error.module else f" at {error.source}" if error.source else ""
    unit = "quantization steps" if error.quantized else "thousandths of its largest value"
    return (
        f"from its own input {error.operator}{place} is off by up to {error.max_error:.0f} {unit} "
        f"({100 * error.share:.2g} % of its elements by more than 1)"
    )
