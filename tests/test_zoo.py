"""Every zoo model through the whole pipeline: integers from end to end, and as good in each runtime as PT2E promises."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import edgeds
from edgeds import twin
from edgeds.models import ZOO
from edgeds.pipeline import quantize
from edgeds.reference import read_samples
from edgeds.run import host
from edgeds.spec import (
    RUNTIMES_OF,
    Artifact,
    Bundle,
    ColorOrder,
    Compute,
    Format,
    Precision,
    Preprocess,
    QuantizedModel,
    Runtime,
)
from tests.bench.photos import calibration_photos, mobilenet_v2_weights, validation_photos

# The blocks of all six; `make bench-zoo` measures fp32 artifacts of all of them.
IN_FP32 = ("mobilenet_v3_large", "efficientnet_lite0", "ds_cnn")
# MobileNetV2 and EfficientNet-Lite0 have real ImageNet weights and photos of the size that these were trained on. The
# others have random weights: what they lower to does not depend on the size, and small photos are quick.
REAL_SQNR_DB = {"mobilenet_v2": 13.5, "efficientnet_lite0": 17.5}
SMALL = 96
GREY = Preprocess(resize=64, mean=(0.5,), std=(0.25,), color_order=ColorOrder.GRAY)
# tflite-runtime's kernels are of 2023; the three that a new app would use agree closer
CURRENT = ("executorch-int8@executorch", "onnx-int8@onnxruntime", "tflite-int8@litert")
MAX_SPREAD_DB = 0.3

Bundles = Callable[[str], Bundle]


@pytest.fixture(scope="session")
def zoo_bundle(tmp_path_factory: pytest.TempPathFactory, suite_cache: Path) -> Bundles:
    """Makes the bundle of a zoo model, once a session."""
    work = tmp_path_factory.mktemp("zoo")

    @cache
    def make(name: str) -> Bundle:
        precisions = ("int8", "fp32") if name in IN_FP32 else ("int8",)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEDS_CACHE", str(suite_cache))
            return edgeds.export(_quantized(name, work), work / name, precisions=precisions)

    return make


def _quantized(name: str, work: Path) -> QuantizedModel:
    calibration, validation = calibration_photos(work / "calibration"), validation_photos(work / "validation")
    if name in REAL_SQNR_DB:
        weights = str(mobilenet_v2_weights()) if name == "mobilenet_v2" else "pretrained"
        return quantize(edgeds.load_model(name, weights=weights), calibration, validation=validation, recipe="fast")
    if name == "ds_cnn":
        return quantize(edgeds.load_model(name, preprocess=GREY), calibration, recipe="fast")
    return quantize(edgeds.load_model(name, input_size=SMALL), calibration, recipe="fast")


def _artifact(bundle: Bundle, format: Format, precision: Precision) -> Artifact:
    return next(a for a in bundle.manifest.artifacts if (a.format, a.precision) == (format, precision))


@pytest.mark.parametrize("name", ZOO)
def test_a_zoo_model_lowers_to_integers_in_every_format(name: str, zoo_bundle: Bundles) -> None:
    for format in Format:
        artifact = _artifact(zoo_bundle(name), format, Precision.INT8)
        floats = [operator for operator in artifact.operators if operator.compute is Compute.FLOAT32]
        assert (floats, artifact.outside, artifact.notes) == ([], (), ())


@pytest.mark.parametrize("name", ZOO)
def test_a_zoo_model_is_one_executorch_delegate_and_nothing_else(name: str, zoo_bundle: Bundles) -> None:
    artifacts = [a for a in zoo_bundle(name).manifest.artifacts if a.format is Format.EXECUTORCH]
    assert len(artifacts) == 1 + (name in IN_FP32)
    for artifact in artifacts:
        assert (artifact.delegates, artifact.outside) == (1, ())


@pytest.mark.parametrize("name", ZOO)
def test_a_zoo_model_converts_between_float_and_int8_only_at_its_ends(name: str, zoo_bundle: Bundles) -> None:
    bundle = zoo_bundle(name)
    ends = {format: _artifact(bundle, format, Precision.INT8).count(Compute.CONVERT) for format in Format}
    assert ends == {Format.EXECUTORCH: 2, Format.ONNX: 2, Format.TFLITE: 0}
    names = {operator.name for operator in _artifact(bundle, Format.TFLITE, Precision.INT8).operators}
    assert not names & {"QUANTIZE", "DEQUANTIZE", "TRANSPOSE"}


@pytest.mark.parametrize("name", IN_FP32)
def test_a_zoo_model_in_fp32_is_eager_pytorch_to_100_db(name: str, zoo_bundle: Bundles) -> None:
    reports = [r for r in zoo_bundle(name).manifest.drift if "-fp32@" in r.subject]
    assert {r.subject.partition("@")[0] for r in reports} == {f"{format}-fp32" for format in Format}
    assert min(r.sqnr_db for r in reports) >= 100


@pytest.mark.parametrize("name", REAL_SQNR_DB)
def test_real_weights_on_real_photos_keep_their_sqnr_in_every_current_runtime(name: str, zoo_bundle: Bundles) -> None:
    reports = {r.subject: r for r in zoo_bundle(name).manifest.drift if r.reference == "float"}
    current = [reports[subject] for subject in CURRENT]
    sqnr = [report.sqnr_db for report in current]
    assert min(report.n_inputs for report in current) >= 64
    assert min(sqnr) >= REAL_SQNR_DB[name]
    assert max(sqnr) - min(sqnr) <= MAX_SPREAD_DB
    assert min(report.top1_agreement or 0 for report in current) >= 0.9


@pytest.mark.parametrize("name", ZOO)
def test_the_runtimes_of_a_zoo_model_agree_far_better_than_int8_with_float(name: str, zoo_bundle: Bundles) -> None:
    drift = zoo_bundle(name).manifest.drift
    against_float = max(r.sqnr_db for r in drift if r.subject in CURRENT and r.reference == "float")
    against_each_other = min(r.sqnr_db for r in drift if r.subject in CURRENT and r.reference in CURRENT)
    assert against_each_other > against_float


@pytest.mark.parametrize("runtime", twin.MODULES)
@pytest.mark.parametrize("name", ZOO)
def test_the_twin_of_a_zoo_model_gives_the_same_bits_as_the_runtime_on_real_photos(
    name: str, runtime: Runtime, zoo_bundle: Bundles
) -> None:
    bundle = zoo_bundle(name)
    format = next(format for format, runtimes in RUNTIMES_OF.items() if runtime in runtimes)
    artifact = _artifact(bundle, format, Precision.INT8)
    photos = tuple(x[:8] for x in read_samples(bundle).inputs)
    expected = host.run(artifact, bundle.path / artifact.path, runtime, photos).outputs
    found = twin.outputs(artifact, bundle.path / artifact.path, runtime, photos)
    assert len(np.unique(expected[0])) > 20
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.view(np.int32), other.view(np.int32))
