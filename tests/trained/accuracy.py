"""One trained net through edgeds' public functions, as a user would call them: what each runtime still gets right, as plain data."""

from __future__ import annotations

import inspect
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import edgeds
from edgeds.pipeline import quantize
from edgeds.process import cores
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Bundle, DriftLimits, Model, Runtime
from tests.bench.coverage_row import Cell, cell
from tests.trained.fashion import Fashion, Part

CALIBRATION = 256  # images of the training set
VALIDATION = 64  # images of the test set, for edgeds' own validation
# How far runtimes lie apart is judged here by their accuracy over all test images. By SQNR MobileNetV3 is 1.7 dB worse in ExecuTorch, whose
# hardswish is exact where the others' is a product with an int8 gate: half a minute's look at its layers would find nothing.
LIMITS = DriftLimits(max_runtime_spread_db=math.inf)


@dataclass(frozen=True, slots=True)
class Int8:
    """What one runtime answers to all test images. `accuracy` and `agreement` (with the float model) are top-1, in percent."""

    runtime: Runtime
    accuracy: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Row:
    """One net: `accuracy` is the float model's in PyTorch, top-1 in percent over `n_images`. `cells` say what is not integer in each format."""

    net: str
    parameters: int
    n_images: int
    accuracy: float
    int8: tuple[Int8, ...]
    cells: tuple[Cell, ...]

    @property
    def worst_loss(self) -> float:
        """How many points of accuracy the worst runtime is below the float model."""
        return max(self.accuracy - found.accuracy for found in self.int8)


def measure(net: type[torch.nn.Module], weights: Path, data: Fashion, work: Path) -> Row:
    """The row of a net: quantized once with a few training images, exported to every format, run on every test image in every runtime."""
    model = edgeds.load_model(f"{inspect.getfile(net)}:{net.__name__}", weights=str(weights))
    bundle = _exported(model, data, work)
    float_answers = _float_answers(model, data.test.images)
    artifacts = bundle.manifest.artifacts
    return Row(
        net=net.__name__,
        parameters=bundle.manifest.model.parameters,
        n_images=len(data.test.labels),
        accuracy=_percent(float_answers == data.test.labels),
        int8=_int8(bundle, data.test, float_answers),
        cells=tuple(cell(artifact, ()) for artifact in artifacts),
    )


def _exported(model: Model, data: Fashion, work: Path) -> Bundle:
    calibration, validation = work / "calibration.npy", work / "validation.npy"
    np.save(calibration, data.train.images[:CALIBRATION])
    np.save(validation, data.test.images[:VALIDATION])
    return edgeds.export(
        quantize(model, calibration, validation=validation, recipe="best"), work / "bundle", limits=LIMITS
    )


def _float_answers(model: Model, images: Array) -> Array:
    with torch.no_grad():
        scores = [model.module(batch) for batch in torch.split(torch.from_numpy(images), 500)]
    answers: Array = torch.cat(scores).argmax(1).numpy()
    return answers


def _int8(bundle: Bundle, test: Part, float_answers: Array) -> tuple[Int8, ...]:
    """In every runtime that edgeds could validate in, one a core."""
    pairs = [(a, r) for a in bundle.manifest.artifacts for r in RUNTIMES_OF[a.format] if r in bundle.manifest.runtimes]

    def one(pair: tuple[Artifact, Runtime]) -> Int8:
        artifact, runtime = pair
        (scores,) = host.run(artifact, bundle.path / artifact.path, runtime, (test.images,)).outputs
        answers = scores.argmax(1)
        return Int8(runtime, _percent(answers == test.labels), _percent(answers == float_answers))

    with ThreadPoolExecutor(cores()) as pool:
        return tuple(pool.map(one, pairs))


def _percent(right: Array) -> float:
    return 100 * float(np.mean(right))
