"""The report as one HTML file that needs nothing else: no script, no request, no time; the same for equal manifests."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeds.report import rows
from edgeds.report.latency_html import Latencies
from edgeds.report.rows import Pair, Row
from edgeds.report.usage import Usage, preparation, usage
from edgeds.spec import Artifact, Compute, DriftReport, Format, Manifest, Precision, TensorQuantization

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "bundle.html.j2"
BARS = 8  # of a histogram; larger differences share the last one
BAR_UNITS = 200  # length of a bar of 100 %
SHOWN_LABELS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: its place, its length in SVG units, and what stands beside it."""

    label: str
    length: float
    share: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many output elements differ by how many steps, in percent."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def description(self) -> str:
        """All that the picture shows, for those who cannot see it."""
        return f"{self.title}: " + ", ".join(f"{bar.share} % differ by {bar.label} LSB" for bar in self.bars)


@dataclass(frozen=True, slots=True)
class Operators:
    """What an artifact executes, counted by what it computes in; `outside` has a sentence on delegates, if there are any."""

    name: str
    int8: int
    float32: int
    convert: int
    other: int
    names: str
    outside: str
    has_float_left: bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """A quantized tensor in one line of the table."""

    name: str
    module: str
    range: str
    scale: str
    zero_point: str


@dataclass(frozen=True, slots=True)
class File:
    """An artifact as a file to be checked."""

    path: str
    size: str
    sha256: str
    toolchain: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows."""

    manifest: Manifest
    violations: tuple[str, ...] | None
    limits: tuple[str, ...]
    facts: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    histograms: tuple[Histogram, ...]
    operators: tuple[Operators, ...]
    warnings: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]
    preparation: tuple[str, ...]
    usages: tuple[Usage, ...]
    files: tuple[File, ...]
    tensors: tuple[Tensor, ...]
    latencies: Latencies | None


def bundle_html(
    manifest: Manifest, violations: tuple[str, ...] | None = None, latencies: Latencies | None = None
) -> str:
    """The report of a bundle; `manifest.files` is not looked at, for this report is one of them.

    `violations` are the limits that were exceeded, a sentence each; None leaves the judgement out. `latencies` is of devices, where they are known.
    """
    return _template().render(page=_page(manifest, violations, latencies)) + "\n"


@functools.cache
def _template() -> Template:
    import importlib.resources

    from jinja2 import Environment, StrictUndefined

    text = importlib.resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)


def _page(manifest: Manifest, violations: tuple[str, ...] | None, latencies: Latencies | None) -> Page:
    preprocess, shape = manifest.model.preprocess, manifest.model.input_shapes[0]
    return Page(
        manifest=manifest,
        violations=violations,
        limits=rows.limit_texts(manifest.limits, manifest.drift),
        facts=tuple(_facts(manifest)),
        rows=rows.drift_rows(manifest),
        pairs=rows.pair_rows(manifest),
        histograms=tuple(_histogram(report) for report in rows.histograms(manifest)),
        operators=tuple(_operators(artifact) for artifact in manifest.artifacts),
        warnings=tuple(dict.fromkeys(manifest.warnings)),
        notes=rows.notes(manifest),
        preparation=preparation(preprocess, shape) if preprocess and len(shape) == 4 else (),
        usages=tuple(usage(manifest, artifact) for artifact in manifest.artifacts),
        files=tuple(_file(artifact) for artifact in manifest.artifacts),
        tensors=tuple(_tensor(tensor) for tensor in manifest.quantization),
        latencies=latencies,
    )


def _facts(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """The cards at the top: title, what matters, and a remark."""
    model, calibration, validation = manifest.model, manifest.calibration, manifest.validation
    yield "Weights", model.weights, "random: accuracy means nothing" if manifest.seeded else ""
    yield "Parameters", f"{model.parameters:,}", ""
    yield "Input", rows.shapes(model.input_shapes), "axes as PyTorch has them"
    yield "Output", rows.shapes(model.output_shapes), _labels(model.labels)
    yield "Recipe", manifest.recipe or "not quantized", ""
    if calibration:
        yield "Calibration", rows.data(calibration), f"sha256 {calibration.digest[:12]}"
    yield "Validation", rows.data(validation), f"sha256 {validation.digest[:12]}"


def _labels(labels: tuple[str, ...]) -> str:
    if not labels:
        return ""
    more = ", …" if len(labels) > SHOWN_LABELS else ""
    return f"{len(labels)} labels: {', '.join(labels[:SHOWN_LABELS])}{more}"


def _histogram(report: DriftReport) -> Histogram:
    elements = sum(count for _, count in report.lsb_histogram)
    return Histogram(
        title=rows.runtime_name(report.subject),
        bars=tuple(
            Bar(label, round(BAR_UNITS * count / elements, 2), rows.percent(count / elements))
            for label, count in _bins(dict(report.lsb_histogram))
        ),
    )


def _bins(counts: dict[int, int]) -> Iterator[tuple[str, int]]:
    most = max(counts)
    for step in range(min(most + 1, BARS - 1 if most >= BARS else BARS)):
        yield str(step), counts.get(step, 0)
    if most >= BARS:
        last = BARS - 1
        yield f"{last}…{most}", sum(count for step, count in counts.items() if step >= last)


def _operators(artifact: Artifact) -> Operators:
    by_count = sorted(artifact.operators, key=lambda operator: (-operator.count, operator.name))
    return Operators(
        name=artifact.name,
        int8=artifact.count(Compute.INT8),
        float32=artifact.count(Compute.FLOAT32),
        convert=artifact.count(Compute.CONVERT),
        other=artifact.count(Compute.OTHER),
        names=", ".join(f"{operator.count} {operator.name}" for operator in by_count),
        outside=_outside(artifact),
        has_float_left=artifact.precision is Precision.INT8 and artifact.count(Compute.FLOAT32) > 0,
    )


def _outside(artifact: Artifact) -> str:
    if artifact.format is not Format.EXECUTORCH:
        return ""
    delegates = f"{artifact.delegates} delegate{'' if artifact.delegates == 1 else 's'}"
    names = f": {', '.join(sorted(artifact.outside))}" if artifact.outside else ""
    return f"{delegates}, {len(artifact.outside)} operators outside{names}"


def _file(artifact: Artifact) -> File:
    size = rows.size(artifact.size_bytes)
    return File(artifact.path.as_posix(), size, artifact.sha256, ", ".join(artifact.toolchain))


def _tensor(tensor: TensorQuantization) -> Tensor:
    low, high = min(tensor.scale), max(tensor.scale)
    scale = (
        f"{tensor.scale[0]:.6g}"
        if tensor.axis is None
        else f"{len(tensor.scale)} on axis {tensor.axis}: {low:.3g} … {high:.3g}"
    )
    zero_points = sorted(set(tensor.zero_point))
    zero_point = str(zero_points[0]) if len(zero_points) == 1 else f"{zero_points[0]} … {zero_points[-1]}"
    return Tensor(
        tensor.name, tensor.module, f"{tensor.dtype} {tensor.quant_min} … {tensor.quant_max}", scale, zero_point
    )
