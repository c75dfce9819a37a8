"""Everything that stands between convolutions, through all three formats and their runtimes: one net of many small ones, lowered once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeds import program as programs
from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Compute, Format, Precision, Program, Samples
from tests.quantize.structures import IMAGE, SERIES, Series, made
from tests.surprises import surprises

# Every rewrite and every form of an exporter once; the others are variants of the same graph, which tests/quantize/test_structure.py checks.
LOWERED = (
    "chunk and shuffle",
    "depth multiplier",
    "unbind and select",
    "two batch-norms of one value",
    "batch-norm behind a concatenation",
    "a table that is added",
    "a difference",
    "a square",
    "average pool that does not count it",
    "average pool with ceil_mode",
    "adaptive pool to another size",
    "largest of an image",
    "mean over rows",
    "mean over channels",
    "squeeze-excite",
    "attention of neighbours",
    "transposed convolution",
    "replication",
    "every second pixel",
    "nearest upsampling",
)
FLOAT = ("ConvNeXt's block",)
N_CALIBRATION = 16


class All(nn.Module):
    """An output for each structure, one for one-dimensional convolutions, and one for an upsampling that two runtimes do in float."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(made(name) for name in LOWERED)
        self.series = Series().eval()

    def forward(self, image: Tensor, series: Tensor) -> list[Tensor]:
        return [*(part(image) for part in self.parts), self.series(series)]


class Islands(nn.Module):
    """What stays in float in some runtime: it must not cut the rest to pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.conv = made(FLOAT[0]), nn.Conv2d(5, 5, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        y: Tensor = self.conv(F.interpolate(self.block(image), scale_factor=2, mode="bilinear", align_corners=False))
        return y


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    graph: Program
    artifacts: dict[Format, Artifact]
    outputs: dict[Format, tuple[Array, ...]]
    expected: tuple[Array, ...]  # of the PT2E graph
    floats: tuple[Array, ...]
    steps: tuple[float, ...]


Done = Callable[[str], Result]


@pytest.fixture(scope="module")
def done(
    captured: Callable[..., Program],
    samples_of: Callable[..., Samples],
    evaluate: Callable[..., list[Array]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Done:
    """The result for a name, made when it is asked for the first time."""
    from edgeds.export.lower import lower
    from edgeds.export.worker import Job
    from edgeds.quantize.parameters import output_scales
    from edgeds.quantize.pt2e import quantize_program

    known: dict[str, Result] = {}

    def make(name: str) -> Result:
        if name not in known:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                module, shapes = (All(), (IMAGE, SERIES)) if name == "all" else (Islands(), (IMAGE,))
            folder = tmp_path_factory.mktemp("structures")
            rng = np.random.default_rng(0)
            data = [rng.normal(size=(N_CALIBRATION + 6, *shape[1:])).astype(np.float32) for shape in shapes]
            held_out = tuple(x[N_CALIBRATION:] for x in data)
            program = captured(module.eval(), *shapes)
            graph, _, undone = quantize_program(program, samples_of(*(x[:N_CALIBRATION] for x in data)), Recipe("fast"))
            assert undone == ()
            programs.save(graph, folder / "int8")
            jobs = [Job(format_, Precision.INT8, folder / "int8", folder / f"{format_}") for format_ in Format]
            artifacts = {artifact.format: artifact for artifact in lower(jobs, folder)}
            outputs = {f: host.run(a, a.path, RUNTIMES_OF[f][0], held_out).outputs for f, a in artifacts.items()}
            expected, floats = evaluate(graph, *held_out), evaluate(program, *held_out)
            known[name] = Result(graph, artifacts, outputs, tuple(expected), tuple(floats), output_scales(graph))
        return known[name]

    return make


@pytest.mark.parametrize("format", Format)
def test_all_structures_are_integers_from_end_to_end(done: Done, format: Format) -> None:
    artifact = done("all").artifacts[format]
    floats = [o for o in artifact.operators if o.compute not in (Compute.INT8, Compute.CONVERT)]
    assert (floats, artifact.outside) == ([], ())
    assert [note for note in artifact.notes if " transposes: " not in note] == []
    assert artifact.delegates == (format is Format.EXECUTORCH)
    ends = len(done("all").expected) + 2  # outputs and inputs
    assert artifact.count(Compute.CONVERT) == (0 if format is Format.TFLITE else ends)


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("index", range(len(LOWERED) + 1), ids=[*LOWERED, "series"])
def test_a_structure_gives_the_quantized_graphs_numbers_within_rounding(done: Done, format: Format, index: int) -> None:
    """A layer or two compute in integers what the PT2E graph computes in float: single steps apart, and few of them."""
    result = done("all")
    steps = np.abs(result.outputs[format][index] - result.expected[index]) / result.steps[index]
    assert float(steps.max()) < 3.01
    assert float((steps > 0.5).mean()) < 0.1


@pytest.mark.parametrize("index", range(len(LOWERED) + 1), ids=[*LOWERED, "series"])
def test_a_structures_integers_are_close_to_the_float_model(done: Done, index: int) -> None:
    result = done("all")
    expected, found = result.floats[index], result.expected[index]
    noise = float(np.square(expected - found).sum())
    assert 10 * np.log10(float(np.square(expected).sum()) / noise) > 20


def test_a_layer_norm_and_a_bilinear_upsampling_stay_inside_of_the_one_delegate(done: Done) -> None:
    artifact = done("islands").artifacts[Format.EXECUTORCH]
    assert (artifact.delegates, artifact.outside) == (1, ())
    assert artifact.count(Compute.CONVERT) == 2 + 2 * 2  # the ends, and around the two of them


def test_what_is_float_is_named(done: Done) -> None:
    artifacts = done("islands").artifacts
    named = {f: {o.name for o in a.operators if o.compute is Compute.FLOAT32} for f, a in artifacts.items()}
    assert named[Format.ONNX] == {"LayerNormalization", "Resize"}
    assert "Conv2d" in named[Format.EXECUTORCH] and "StaticResizeBilinear2D" in named[Format.EXECUTORCH]
    assert "RESIZE_BILINEAR" not in named[Format.TFLITE]
    for format in Format:
        assert {note.split(":")[0] for note in artifacts[format].notes if " in float: " in note} == named[format]


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("name", ["all", "islands"])
def test_what_is_left_was_foretold(done: Done, name: str, format: Format) -> None:
    assert surprises(done(name).artifacts[format], done(name).graph) == ()


@pytest.mark.parametrize("format", Format)
def test_float_islands_give_the_quantized_graphs_numbers(done: Done, format: Format) -> None:
    result = done("islands")
    steps = np.abs(result.outputs[format][0] - result.expected[0]) / result.steps[0]
    assert float(steps.max()) < 3.01
    assert float((steps > 0.5).mean()) < 0.15
