"""Every zoo model in every format and runtime, on real photos: prints README's table as Markdown. `make bench-zoo`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import edgeds
from edgeds.models import ZOO
from edgeds.pipeline import quantize
from edgeds.spec import Artifact, Bundle, ColorOrder, Compute, DriftReport, Model, Precision, Preprocess
from tests.bench.photos import calibration_photos, mobilenet_v2_weights, validation_photos

# ds_cnn takes 49 x 10 features; without recordings in any package, grey patches of photos stand in for them.
GREY = Preprocess(resize=64, mean=(0.5,), std=(0.25,), color_order=ColorOrder.GRAY)
HEADER = (
    "| model (weights) | format | runtime | MB | delegates | float operators | SQNR dB | top-1 agreement % | "
    "within 1 LSB of ExecuTorch % | fp32 SQNR dB |"
)


def main() -> None:
    """Exports the whole zoo, or the models named on the command line."""
    names = sys.argv[1:] or list(ZOO)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        calibration, validation = calibration_photos(work / "calibration"), validation_photos(work / "validation")
        print(HEADER)
        print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        for name in names:
            quantized = quantize(zoo_model(name), calibration, validation=validation, recipe="fast")
            bundle = edgeds.export(quantized, work / name, precisions=("int8", "fp32"))
            for line in _rows(bundle):
                print(line, flush=True)


def zoo_model(name: str) -> Model:
    """With real weights where packages ship them."""
    weights = {"mobilenet_v2": str(mobilenet_v2_weights()), "efficientnet_lite0": "pretrained"}.get(name)
    return edgeds.load_model(name, weights=weights, preprocess=GREY if name == "ds_cnn" else None)


def _rows(bundle: Bundle) -> list[str]:
    reports = {(report.subject, report.reference): report for report in bundle.manifest.drift}
    artifacts = {artifact.name: artifact for artifact in bundle.manifest.artifacts}
    subjects = [subject for subject, reference in reports if reference == "float" and "int8@" in subject]
    return [_row(bundle, subject, artifacts[subject.partition("@")[0]], reports) for subject in subjects]


def _row(bundle: Bundle, subject: str, artifact: Artifact, reports: dict[tuple[str, str], DriftReport]) -> str:
    runtime = subject.partition("@")[2]
    report = reports[subject, "float"]
    fp32 = reports[subject.replace(f"-{Precision.INT8}", f"-{Precision.FP32}"), "float"]
    against = reports.get((subject, "executorch-int8@executorch"))
    weights = "random" if bundle.manifest.seeded else "ImageNet"
    cells = (
        f"{bundle.manifest.model.name} ({weights})",
        str(artifact.format),
        runtime,
        f"{artifact.size_bytes / 1e6:.2f}",
        str(artifact.delegates) if artifact.delegates else "–",
        str(artifact.count(Compute.FLOAT32) + len(artifact.outside)),
        f"{report.sqnr_db:.1f}",
        "–" if report.top1_agreement is None else f"{100 * report.top1_agreement:.0f}",
        "–" if against is None else f"{_within_one(against):.1f}",
        f"{fp32.sqnr_db:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _within_one(report: DriftReport) -> float:
    """The share of output elements that differ by at most one quantization step, in percent."""
    total = sum(count for _, count in report.lsb_histogram)
    return 100 * sum(count for steps, count in report.lsb_histogram if steps <= 1) / total


if __name__ == "__main__":
    main()
