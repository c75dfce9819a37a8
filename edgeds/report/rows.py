"""What every report says of a manifest, as text: one row a measurement, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeds.spec import (
    RUNTIMES_OF,
    Artifact,
    Compute,
    DataCard,
    DriftLimits,
    DriftReport,
    Format,
    Manifest,
    Precision,
    Runtime,
)

NONE = "\N{EN DASH}"  # nothing to say: not measured, or it does not apply
TIMES = "\N{MULTIPLICATION SIGN}"
NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Row:
    """An artifact in a runtime, or the PT2E reference (then `is_reference`): the cells of a table, ready to be shown."""

    format: str
    precision: str
    size: str
    runtime: str
    version: str
    delegates: str
    outside: str
    float_operators: str
    sqnr_float: str
    sqnr_pt2e: str
    top1: str
    max_lsb: str
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runtimes against each other, named like `litert int8` (a runtime runs one format, so that says it all)."""

    subject: str
    reference: str
    identical: str
    within_one: str
    max_lsb: str
    sqnr: str


def drift_rows(manifest: Manifest) -> tuple[Row, ...]:
    """The PT2E reference if there is one, then each artifact in each runtime; int8 before fp32.

    An artifact that was run nowhere has one row that says so.
    """
    reports = {(r.subject, r.reference): r for r in manifest.drift}
    pt2e = reports.get(("pt2e", "float"))
    rows = [_reference_row(pt2e)] if pt2e else []
    for artifact in sorted(manifest.artifacts, key=lambda a: list(Precision).index(a.precision)):
        run = [r for r in RUNTIMES_OF[artifact.format] if (f"{artifact.name}@{r}", "float") in reports]
        rows += [_row(artifact, runtime, reports, manifest.runtimes) for runtime in run or (None,)]
    return tuple(rows)


def pair_rows(manifest: Manifest) -> tuple[Pair, ...]:
    """The comparisons whose reference is another artifact in its runtime."""
    return tuple(_pair(r) for r in manifest.drift if "@" in r.reference)


def histograms(manifest: Manifest) -> tuple[DriftReport, ...]:
    """The comparisons of int8 artifacts with the PT2E reference."""
    return tuple(r for r in manifest.drift if r.reference == "pt2e" and "@" in r.subject and r.lsb_histogram)


def decibels(value_db: float) -> str:
    """SQNR in dB: one digit after the point, `exact` where it is infinite."""
    return "exact" if value_db == math.inf else f"{value_db:.1f}"


def percent(share: float) -> str:
    """A share of 0..1 in percent; never rounded to 0.0 or 100.0 where it is not exactly that."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        return ">99.9"
    return "<0.1" if text == "0.0" and share > 0 else text


def megabytes(size_bytes: int) -> str:
    """A size in MB of 1,000,000 bytes, two digits after the point."""
    return f"{size_bytes / 1e6:.2f}"


def size(size_bytes: int) -> str:
    """A size with its unit: B, kB or MB (powers of 1000)."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 999_950 else f"{megabytes(size_bytes)} MB"


def shapes(input_shapes: tuple[tuple[int, ...], ...]) -> str:
    """Axes joined with multiplication signs, several shapes with a comma."""
    return ", ".join(TIMES.join(map(str, shape)) or "scalar" for shape in input_shapes)


def data(card: DataCard) -> str:
    """`64 samples of photos`."""
    return f"{card.n_samples} {'sample' if card.n_samples == 1 else 'samples'} of {card.source}"


def runtime_name(subject: str) -> str:
    """`litert int8` for `tflite-int8@litert`."""
    artifact, _, runtime = subject.partition("@")
    return f"{runtime} {artifact.rpartition('-')[2]}"


def limit_texts(limits: DriftLimits, drift: Sequence[DriftReport]) -> tuple[str, ...]:
    """The limits that judged something in these reports, one phrase each; one that nothing can exceed is left out."""
    int8, fp32 = _judged(drift, Precision.INT8), _judged(drift, Precision.FP32)
    scores = [report for report in int8 if report.top1_agreement is not None]
    texts = (
        (int8 and limits.min_int8_sqnr_db > -math.inf, f"int8 SQNR ≥ {limits.min_int8_sqnr_db:g} dB"),
        (
            scores and limits.min_int8_top1_agreement > 0,
            f"int8 top-1 agreement ≥ {100 * limits.min_int8_top1_agreement:g} %",
        ),
        (
            len(int8) > 1 and limits.max_runtime_spread_db < math.inf,
            f"int8 runtimes ≤ {limits.max_runtime_spread_db:g} dB apart",
        ),
        (fp32 and limits.min_fp32_sqnr_db > -math.inf, f"fp32 SQNR ≥ {limits.min_fp32_sqnr_db:g} dB"),
    )
    return tuple(text for applies, text in texts if applies)


def notes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """(names of the artifacts, note), each note once."""
    found: dict[str, dict[str, None]] = {}
    for artifact in manifest.artifacts:
        for note in artifact.notes:
            found.setdefault(note, {})[artifact.name] = None
    return tuple((", ".join(names), note) for note, names in found.items())


def _judged(drift: Sequence[DriftReport], precision: Precision) -> list[DriftReport]:
    """The reports that limits look at: artifacts of this precision against the float model."""
    return [r for r in drift if r.reference == "float" and f"-{precision}@" in r.subject]


def milliseconds(ms: float) -> str:
    """With three digits, without unit."""
    digits = 0 if ms >= 99.5 else 1 if ms >= 9.95 else 2 if ms >= 0.995 else 3
    return f"{ms:.{digits}f}"


def _reference_row(report: DriftReport) -> Row:
    return Row(
        format="PT2E graph",
        precision=Precision.INT8,
        size=NONE,
        runtime="PyTorch",
        version=NONE,
        delegates=NONE,
        outside=NONE,
        float_operators=NONE,
        sqnr_float=decibels(report.sqnr_db),
        sqnr_pt2e=NONE,
        top1=_agreement(report),
        max_lsb=NONE,
        is_reference=True,
    )


def _row(
    artifact: Artifact,
    runtime: Runtime | None,
    reports: dict[tuple[str, str], DriftReport],
    versions: dict[str, str],
) -> Row:
    subject = f"{artifact.name}@{runtime}"
    against_float, against_pt2e = reports.get((subject, "float")), reports.get((subject, "pt2e"))
    int8, delegating = artifact.precision is Precision.INT8, artifact.format is Format.EXECUTORCH
    max_lsb = against_pt2e.max_lsb if against_pt2e else None
    return Row(
        format=artifact.format,
        precision=artifact.precision,
        size=megabytes(artifact.size_bytes),
        runtime=runtime or NOT_RUN,
        version=versions.get(runtime or "", NONE),
        delegates=f"{artifact.delegates} delegate{'' if artifact.delegates == 1 else 's'}" if delegating else NONE,
        outside=str(len(artifact.outside)) if delegating else NONE,
        float_operators=str(artifact.count(Compute.FLOAT32)) if int8 else NONE,
        sqnr_float=decibels(against_float.sqnr_db) if against_float else NONE,
        sqnr_pt2e=decibels(against_pt2e.sqnr_db) if against_pt2e else NONE,
        top1=_agreement(against_float) if int8 else NONE,
        max_lsb=NONE if max_lsb is None else str(max_lsb),
    )


def _agreement(report: DriftReport | None) -> str:
    return NONE if report is None or report.top1_agreement is None else percent(report.top1_agreement)


def _pair(report: DriftReport) -> Pair:
    identical, within_one = _shares(report)
    return Pair(
        subject=runtime_name(report.subject),
        reference=runtime_name(report.reference),
        identical=identical,
        within_one=within_one,
        max_lsb=NONE if report.max_lsb is None else str(report.max_lsb),
        sqnr=decibels(report.sqnr_db),
    )


def _shares(report: DriftReport) -> Iterator[str]:
    """Of all elements: those that are identical, and those at most one quantization step apart, in percent."""
    elements = sum(count for _, count in report.lsb_histogram)
    for most in (0, 1):
        near = sum(count for step, count in report.lsb_histogram if step <= most)
        yield percent(near / elements) if elements else NONE
