"""One trained net through edgeds' public functions, as a user would call them: what each runtime still gets right, as plain data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
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
from tests.trained.enlarge import fitted
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


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A trained net and the images that it takes: `calibration` float32 [256, C, H, W], `test` all of the test set. `answers` int64 [N]: its own in float."""

    model: Model
    calibration: Array
    test: Part
    answers: Array

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(parameter.numel() for parameter in self.model.module.parameters())


def subject_of(net: type[torch.nn.Module], weights: Path, data: Fashion) -> Subject:
    """The net as a user loads it, and the data as it takes them."""
    model = edgeds.load_model(f"{inspect.getfile(net)}:{net.__name__}", weights=str(weights))
    (shape,) = model.input_shapes
    calibration, test = (_fitted(images, shape) for images in (data.train.images[:CALIBRATION], data.test.images))
    return Subject(model, calibration, Part(test, data.test.labels), _float_answers(model, test))


def measure(subject: Subject, work: Path) -> Row:
    """The row of a net: quantized once with a few training images, exported to every format, run on every test image in every runtime."""
    bundle = _exported(subject, work)
    return row_of(subject, type(subject.model.module).__name__, _int8(bundle, subject), bundle.manifest.artifacts)


def row_of(subject: Subject, name: str, int8: Iterable[Int8], artifacts: Iterable[Artifact]) -> Row:
    """What `int8` found, as a row of that name."""
    return Row(
        net=name,
        parameters=subject.parameters,
        n_images=len(subject.test.labels),
        accuracy=_percent(subject.answers == subject.test.labels),
        int8=tuple(int8),
        cells=tuple(cell(artifact, ()) for artifact in artifacts),
    )


def run(subject: Subject, artifact: Artifact, path: Path, runtime: Runtime) -> Int8:
    """What the artifact's file at `path` answers to all test images."""
    (scores,) = host.run(artifact, path, runtime, (subject.test.images,)).outputs
    answers = scores.argmax(1)
    return Int8(runtime, _percent(answers == subject.test.labels), _percent(answers == subject.answers))


def _fitted(images: Array, shape: tuple[int, ...]) -> Array:
    made: Array = fitted(torch.from_numpy(images), shape).numpy()
    return made


def _exported(subject: Subject, work: Path) -> Bundle:
    calibration, validation = work / "calibration.npy", work / "validation.npy"
    np.save(calibration, subject.calibration)
    np.save(validation, subject.test.images[:VALIDATION])
    quantized = quantize(subject.model, calibration, validation=validation, recipe="best")
    return edgeds.export(quantized, work / "bundle", limits=LIMITS)


def _float_answers(model: Model, images: Array) -> Array:
    with torch.no_grad():
        scores = [model.module(batch) for batch in torch.split(torch.from_numpy(images), 500)]
    answers: Array = torch.cat(scores).argmax(1).numpy()
    return answers


def _int8(bundle: Bundle, subject: Subject) -> tuple[Int8, ...]:
    """In every runtime that edgeds could validate in, one a core."""
    pairs = [(a, r) for a in bundle.manifest.artifacts for r in RUNTIMES_OF[a.format] if r in bundle.manifest.runtimes]

    def one(pair: tuple[Artifact, Runtime]) -> Int8:
        return run(subject, pair[0], bundle.path / pair[0].path, pair[1])

    with ThreadPoolExecutor(cores()) as pool:
        return tuple(pool.map(one, pairs))


def _percent(right: Array) -> float:
    return 100 * float(np.mean(right))
