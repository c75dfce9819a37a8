"""Never wrong in silence: an artifact that is further from the float model than rounding explains is traced to the layer where it starts.

Converters have bugs that no error tells of. What gives them away is that the PT2E graph, or another runtime, answers better from the
same numbers. A second artifact, whose layers can be watched, then says which layer does not compute what it should.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgeds import lowering
from edgeds.data.samples import evenly_spaced, take
from edgeds.errors import LimitError
from edgeds.export import EXPORTERS
from edgeds.export.taps import tapped
from edgeds.layers import layer_errors
from edgeds.lowering import Order
from edgeds.progress import Progress, Silent, step
from edgeds.run import host
from edgeds.spec import (
    RUNTIMES_OF,
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
# A float artifact that rounds as PyTorch does is over 90 dB, even of deep random nets.
WRONG_FP32_DB = 60.0
# In quantization steps, and for float layers in thousandths of the largest value. Runtimes round each layer for themselves: a step or two.
MOST_BY_ROUNDING = 3.0
MAX_SAMPLES = 4


def require_right(
    artifacts: Sequence[Artifact],
    drift: Sequence[DriftReport],
    programs: Mapping[Precision, Program],
    samples: Samples,
    limits: DriftLimits,
    progress: Progress,
) -> tuple[str, ...]:
    """Raises LimitError naming the layer where an artifact starts to be wrong.

    Returns a warning for each that lies apart although every layer is right up to rounding, which depth has amplified then.
    """
    warnings = []
    for artifact, runtime, apart in suspects(artifacts, drift, limits):
        subject = f"{artifact.name}@{runtime}"
        with step(progress, f"look for the layer where {subject} goes wrong"):
            errors = _watched(artifact, runtime, programs[artifact.precision], samples)
        if wrong := next((error for error in errors if error.max_error > MOST_BY_ROUNDING), None):
            raise LimitError(
                f"{subject} is wrong ({apart}): {_said(wrong, artifact.precision)}. That is no rounding but a fault of the "
                "converter or the runtime; leave that --format out, or accept it with --max-spread inf"
            )
        warnings.append(
            f"{subject}: {apart}, but each of its {len(errors)} layers is right up to rounding: what lies between is single steps that add up"
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
            db for subject, db in against_float.items() if subject == "pt2e" or f"-{artifact.precision}@" in subject
        ]
        for runtime in RUNTIMES_OF[artifact.format]:
            found_db = against_float.get(f"{artifact.name}@{runtime}")
            if found_db is None:
                continue
            if int8 and max(same) > found_db + SUSPECT_DB and limits.max_runtime_spread_db < math.inf:
                yield artifact, runtime, f"{found_db:.1f} dB against float where {max(same):.1f} dB are possible"
            elif not int8 and found_db < min(WRONG_FP32_DB, limits.min_fp32_sqnr_db):
                yield (
                    artifact,
                    runtime,
                    f"{found_db:.1f} dB against float, where rounding leaves over {WRONG_FP32_DB:g} dB",
                )


def _watched(artifact: Artifact, runtime: Runtime, program: Program, samples: Samples) -> tuple[LayerError, ...]:
    """What each layer of a second artifact computes from its own input, on a few samples."""
    few = take(samples, evenly_spaced(len(samples), MAX_SAMPLES))
    name = f"watched{EXPORTERS[artifact.format].SUFFIX}"
    order = Order(artifact.format, artifact.precision, tapped(program), name, TfliteIo.INT8)
    with tempfile.TemporaryDirectory(prefix="edgeds-watched-") as temporary:
        (watched,) = lowering.lower_all([order], Path(temporary), None, Silent(), 1)
        record = host.run(watched, Path(temporary) / watched.path, runtime, few.inputs)
    return layer_errors(program, few, record.outputs)


def _said(error: LayerError, precision: Precision) -> str:
    where = error.operator + (f" of {error.module}" if error.module else "")
    unit = "quantization steps" if precision is Precision.INT8 else "thousandths of its largest value"
    return f"from its own input {where} is off by up to {error.max_error:.0f} {unit} ({100 * error.share:.2g} % of its elements by more than 1)"
