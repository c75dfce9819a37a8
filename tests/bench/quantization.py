"""How much of the accuracy each quantizer keeps on real weights: prints a Markdown table. `make bench-quantization`.

    python -m tests.bench.quantization [--net NET ...] [--row ROW ...]

Every row has the same fp32 weights, the same 96 photos to calibrate on, and the same 60 views of 20 other photos (DS-CNN: images of
Fashion-MNIST). SQNR and agreement are the int8 file's in its runtime, against PyTorch's fp32 logits. `gain` is how many dB edgeds' `best` is
above the row, with a 95 % interval over photos (bootstrap); it needs the row `best`, so that one is always run. `logits` says whether the file
rounds its outputs to int8 or leaves them in float, as NNCF does; `best, float logits` is the graph of `best` with the same freedom.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

import edgeds
from edgeds.drift.metrics import sqnr_db
from edgeds.eager import answers
from edgeds.pipeline import capture, quantize
from edgeds.quantize.parameters import output_scales
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, DriftLimits, FloatModel, Format, Model, QuantizedModel, Samples
from tests.bench import quantization_peers as peers
from tests.bench.photos import mobilenet_v2_weights, quantization_photos
from tests.bench.quantization_floats import has_float_logits, with_float_logits
from tests.bench.quantization_nets import fashion_ds_cnn

Make = Callable[[peers.Fp32, Array, Path], None]
BEST = "best"
BEST_FLOAT = "best, float logits"
OURS = (BEST, BEST_FLOAT, "fast")
PEERS: dict[str, tuple[Format, Make]] = {
    "onnxruntime MinMax": (Format.ONNX, peers.onnxruntime_minmax),
    "onnxruntime Percentile": (Format.ONNX, peers.onnxruntime_percentile),
    "ai-edge-quantizer default": (Format.TFLITE, peers.ai_edge_default),
    "ai-edge-quantizer min-max": (Format.TFLITE, peers.ai_edge_minmax),
    "litert-torch PT2EQuantizer": (Format.TFLITE, peers.litert_torch_pt2e),
    "NNCF default": (Format.ONNX, peers.nncf_default),
    "NNCF min-max": (Format.ONNX, peers.nncf_minmax),
}
NETS = ("mobilenet_v2", "efficientnet_lite0", "ds_cnn")
NO_LIMITS = DriftLimits(min_int8_sqnr_db=-np.inf, min_int8_top1_agreement=0.0, max_runtime_spread_db=np.inf)
RESAMPLES = 2000
HEADER = (
    "| net | quantizer | runtime | logits | SQNR dB | same top-1 % | gain of `best`, dB (95 %) | CPU s |\n"
    "|---|---|---|---|--:|--:|--:|--:|"
)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A net with its data: `reference` float32 [N, classes] is what PyTorch computes for the held-out samples."""

    name: str
    model: Model
    calibration: Path
    validation: Path
    source: FloatModel
    reference: Array
    folder: Path


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one quantizer's file answers in one runtime; the CPU seconds are the quantizer's own."""

    quantizer: str
    runtime: str
    has_float_logits: bool
    logits: Array
    cpu_s: float


def main() -> None:
    """Runs the rows that were asked for, all of them unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--row", action="append", choices=(*OURS, *PEERS))
    chosen = parser.parse_args()
    print(HEADER, flush=True)
    summaries: list[str] = []
    with tempfile.TemporaryDirectory() as work:
        photos = quantization_photos(Path(work) / "photos")
        for name in chosen.net or NETS:
            subject = _subject(name, photos, Path(work) / name)
            rows: list[Row] = []
            for row in _rows(subject, {BEST, *(chosen.row or (*OURS, *PEERS))}):
                rows.append(row)
                print(line(subject, row, rows[0]), flush=True)
            summaries.append(summary(subject, rows))
    print("", *filter(None, summaries), sep="\n")


def line(subject: Subject, row: Row, best: Row) -> str:
    """A row as a line of the table."""
    same = 100 * float((row.logits.argmax(1) == subject.reference.argmax(1)).mean())
    gain = "–" if row.quantizer == BEST else "{:+.1f} ({:+.1f} to {:+.1f})".format(*gain_db(subject, row, best))
    cells = (
        subject.name,
        row.quantizer,
        row.runtime,
        "float" if row.has_float_logits else "int8",
        f"{sqnr_db(subject.reference, row.logits):.2f}",
        f"{same:.1f}",
        gain,
        f"{row.cpu_s:.0f}" if row.cpu_s else "",
    )
    return f"| {' | '.join(cells)} |"


def summary(subject: Subject, rows: Sequence[Row]) -> str:
    """What the worst file of `best` gains over the best file of another quantizer; empty where none was run."""
    others = [row for row in rows if row.quantizer not in OURS]
    if not others:
        return ""
    rival = max(others, key=lambda row: sqnr_db(subject.reference, row.logits))
    lines = []
    for name in (BEST, BEST_FLOAT) if rival.has_float_logits else (BEST,):
        if ours := [row for row in rows if row.quantizer == name]:
            worst = min(ours, key=lambda row: sqnr_db(subject.reference, row.logits))
            gain, low, high = gain_db(subject, rival, worst)
            lines.append(
                f"{subject.name}: `{name}` is {gain:+.1f} dB ({low:+.1f} to {high:+.1f}) above the best other, {rival.quantizer}"
            )
    return "\n".join(lines)


def gain_db(subject: Subject, row: Row, best: Row) -> tuple[float, float, float]:
    """How many dB `best` is above `row`, and the 95 % interval of that when photos (all views of one) are drawn with replacement."""
    groups = np.unique(subject.source.validation.groups, return_inverse=True)[1]
    noise = [np.bincount(groups, np.square(r.logits - subject.reference).sum(1)) for r in (row, best)]
    drawn = np.random.default_rng(0).integers(0, len(noise[0]), (RESAMPLES, len(noise[0])))
    gains = 10 * np.log10(noise[0][drawn].sum(1) / noise[1][drawn].sum(1))
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(10 * np.log10(noise[0].sum() / noise[1].sum())), float(low), float(high)


def _subject(name: str, photos: tuple[Path, Path], folder: Path) -> Subject:
    folder.mkdir()
    if name == "ds_cnn":
        model, calibration, validation = fashion_ds_cnn(folder)
    else:
        weights = {"mobilenet_v2": str(mobilenet_v2_weights()), "efficientnet_lite0": "pretrained"}[name]
        model, (calibration, validation) = edgeds.load_model(name, weights=weights), photos
    source = capture(model, calibration, validation=validation)
    (reference,) = answers(source.program, source.validation)
    return Subject(name, model, calibration, validation, source, reference, folder)


def _rows(subject: Subject, wanted: set[str]) -> Iterator[Row]:
    yield from _ours(subject, BEST, BEST_FLOAT in wanted)
    if "fast" in wanted:
        yield from _ours(subject, "fast")
    if not wanted & set(PEERS):
        return
    bundle = edgeds.export(
        subject.source, subject.folder / "fp32", formats=(Format.ONNX, Format.TFLITE), limits=NO_LIMITS
    )
    artifacts = {artifact.format: artifact for artifact in bundle.manifest.artifacts}
    files = {format: bundle.path / artifact.path for format, artifact in artifacts.items()}
    python = peers.nncf_environment(subject.folder.parent / "nncf")
    fp32 = peers.Fp32(subject.model.module, files[Format.ONNX], files[Format.TFLITE], python)
    inputs = _calibration(subject)
    for name, (format, make) in PEERS.items():
        if name in wanted:
            yield _peer(subject, name, artifacts[format], partial(make, fp32, inputs))


def _ours(subject: Subject, recipe: str, also_float: bool = False) -> Iterator[Row]:
    """One quantization, every format and runtime; `also_float`: and ONNX with float logits."""
    before = _cpu_s()
    quantized = quantize(subject.model, subject.calibration, validation=subject.validation, recipe=recipe, cache=False)
    spent = _cpu_s() - before
    for row in _files(subject, recipe, quantized, tuple(Format)):
        yield replace(row, cpu_s=spent)
        spent = 0.0  # once for all three
    if also_float:
        yield from _files(subject, f"{recipe}, float logits", with_float_logits(quantized), (Format.ONNX,))


def _files(subject: Subject, name: str, quantized: QuantizedModel, formats: tuple[Format, ...]) -> Iterator[Row]:
    bundle = edgeds.export(quantized, subject.folder / name.replace(", ", "-"), formats=formats, limits=NO_LIMITS)
    is_float = not all(output_scales(quantized.graph))
    for artifact in bundle.manifest.artifacts:
        runtime = RUNTIMES_OF[artifact.format][0]
        done = host.run(artifact, bundle.path / artifact.path, runtime, subject.source.validation.inputs)
        yield Row(name, str(runtime), is_float, done.outputs[0], 0.0)


def _peer(subject: Subject, name: str, fp32: Artifact, make: Callable[[Path], None]) -> Row:
    target = subject.folder / f"{name.replace(' ', '-')}{fp32.path.suffix}"
    before = _cpu_s()
    make(target)
    spent = _cpu_s() - before
    runtime = RUNTIMES_OF[fp32.format][0]
    done = host.run(replace(fp32, path=target), target, runtime, subject.source.validation.inputs)
    return Row(name, str(runtime), has_float_logits(target), done.outputs[0], spent)


def _calibration(subject: Subject) -> Array:
    """The inputs that edgeds calibrates on, for the peers: read as the held-out ones are."""
    samples: Samples = capture(subject.model, subject.validation, validation=subject.calibration).validation
    inputs: Array = samples.inputs[0]
    return inputs


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
