"""What other quantizers make of a trained net's weights, calibrated on the same images and run on the same test images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

import edgeds
from edgeds.export import onnx, tflite
from edgeds.pipeline import capture
from edgeds.spec import RUNTIMES_OF, Artifact, Bundle, Format
from tests.bench.quantization_peers import Fp32, ai_edge_default, onnxruntime_minmax
from tests.trained.accuracy import VALIDATION, Row, Subject, row_of, run

PEERS = {
    "onnxruntime MinMax": (Format.ONNX, onnxruntime_minmax),
    "ai-edge-quantizer default": (Format.TFLITE, ai_edge_default),
}
OPERATORS = {Format.ONNX: onnx.operators, Format.TFLITE: tflite.operators}


def measure_peers(subject: Subject, work: Path) -> Iterator[Row]:
    """A row for each peer, in the runtime that it is made for; it quantizes the float files that edgeds exports."""
    bundle = _float_files(subject, work)
    artifacts = {artifact.format: artifact for artifact in bundle.manifest.artifacts}
    files = {format: bundle.path / artifact.path for format, artifact in artifacts.items()}
    fp32 = Fp32(
        subject.model.module, files[Format.ONNX], files[Format.TFLITE], nncf_python=Path()
    )  # NNCF is no row here
    for name, (format, make) in PEERS.items():
        int8 = work / f"{name.replace(' ', '-')}{files[format].suffix}"
        with redirect_stdout(sys.stderr):  # ai-edge-quantizer prints how it fares
            make(fp32, subject.calibration, int8)
        artifact = _as_it_is(artifacts[format], int8)
        yield row_of(subject, f"… by {name}", [run(subject, artifact, int8, RUNTIMES_OF[format][0])], [artifact])


def _float_files(subject: Subject, work: Path) -> Bundle:
    calibration, validation = work / "calibration.npy", work / "validation.npy"
    np.save(calibration, subject.calibration)
    np.save(validation, subject.test.images[:VALIDATION])
    source = capture(subject.model, calibration, validation=validation)
    return edgeds.export(source, work / "fp32", formats=[format for format, _ in PEERS.values()])


def _as_it_is(fp32: Artifact, int8: Path) -> Artifact:
    """The peer's file: laid out as the float one, with operators of its own."""
    return replace(fp32, path=int8, operators=OPERATORS[fp32.format](int8), notes=())
