"""Any model that torch.export takes: users' models as they are, in every format, precision and runtime that computes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import edgeds
from edgeds import program as programs
from edgeds import validation
from edgeds.data import make_samples
from edgeds.drift.metrics import compare
from edgeds.errors import ModelError
from edgeds.export import EXPORTERS, worker
from edgeds.models import load_model
from edgeds.models.capture import capture, card
from edgeds.models.statistics import set_batch_norm_statistics
from edgeds.progress import Silent
from edgeds.quantize.pt2e import float_program_for_export, quantize_program
from edgeds.recipe import Recipe
from edgeds.run import agent
from edgeds.spec import (
    RUNTIMES_OF,
    Array,
    Artifact,
    Compute,
    Format,
    Layout,
    Model,
    ModelCard,
    Precision,
    Program,
    Runtime,
    Samples,
)
from edgeds.validation import References
from tests.surprises import surprises

USERS = Path(__file__).parent / "models/any_models.py"
RUNTIMES = (Runtime.EXECUTORCH, Runtime.ONNXRUNTIME, Runtime.LITERT)
# names and shapes of what each model returns
OUTPUTS: dict[str, dict[str, tuple[int, ...]]] = {
    "SSD": {"boxes": (1, 240, 4), "scores": (1, 240, 3)},
    "FPN": {"output_0": (1, 8, 16, 16), "output_1": (1, 8, 8, 8), "output_2": (1, 8, 4, 4)},
    "UNet": {"output_0": (1, 2, 32, 32), "output_1": (1, 32, 32)},
    "Keywords": {"output": (1, 5)},
    "Fusion": {"output": (1, 4)},
    "FourAtOnce": {"output": (4, 5)},
    "InPlace": {"output": (1, 10)},
    "Siamese": {"left": (1, 12), "right": (1, 12), "distance": (1, 1)},
    "Nested": {"out.age": (1, 1), "out.kind": (1, 3), "features.0": (1, 8, 8, 8), "features.1": (1, 8)},
    "Tokens": {"output": (1, 2)},
}
# which of them are integers from end to end; the others have an argmax, a sum of absolute values, an embedding, or a view of a mean
CLEAN = ("SSD", "FPN", "Keywords", "Fusion", "FourAtOnce", "InPlace")
# which of them are lowered in fp32 too: those with several outputs, integer outputs, integer inputs
IN_FP32 = ("SSD", "UNet", "Nested", "Tokens")
N_CALIBRATION, N_VALIDATION = 16, 10  # ten: the last batch of FourAtOnce is not full


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A user's model after everything was done with it."""

    card: ModelCard
    float_program: Program
    graph: Program
    references: References
    artifacts: dict[tuple[Format, Precision], Artifact]
    outputs: dict[tuple[Runtime, Precision], tuple[Array, ...]]


def inputs_of(model: Model, count: int, seed: int) -> Samples:
    """Smooth noise, as pictures and sounds are; token numbers and raw pixels where the model takes those."""
    rng = np.random.default_rng(seed)
    arrays = [_smooth(rng, (count, *shape[1:])) for shape in model.input_shapes]
    if model.name == "Tokens":
        arrays = [rng.integers(0, 20, a.shape).astype(np.float32) for a in arrays]
    if model.name == "InPlace":
        arrays = [np.clip(128 + 60 * a, 0, 255).round().astype(np.float32) for a in arrays]
    names = [f"{seed}-{k}" for k in range(count)]
    return make_samples(arrays, names, names, "noise")


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    noise: Array = rng.normal(size=shape)
    for axis in range(2, len(shape)):
        noise = np.sum([np.roll(noise, k, axis) for k in range(4)], axis=0) / 2
    return noise.astype(np.float32)


@pytest.fixture(scope="session", params=list(OUTPUTS))
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Each model once a session, in this process: starting the converters and runtimes a model would take most of the time."""
    model = load_model(f"{USERS}:{request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    calibration, held_out = inputs_of(model, N_CALIBRATION, 0), inputs_of(model, N_VALIDATION, 1)
    set_batch_norm_statistics(model.module, calibration, model.input_shapes[0][0])
    program = capture(model)
    graph, _, _ = quantize_program(program, calibration, Recipe("fast"))
    float_export, _ = float_program_for_export(program, calibration)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of converters and runtimes, as their processes do
        sources = {Precision.INT8: graph, Precision.FP32: float_export}
        made = _lower(sources if request.param in IN_FP32 else {Precision.INT8: graph}, folder)
        outputs = {
            (runtime, precision): run(artifact, runtime, held_out)
            for (format, precision), artifact in made.items()
            for runtime in RUNTIMES_OF[format]
            if runtime in RUNTIMES
        }
    references = validation.references(program, graph, held_out, None)
    return Done(card(model, program), program, graph, references, made, outputs)


def _lower(sources: dict[Precision, Program], folder: Path) -> dict[tuple[Format, Precision], Artifact]:
    made = {}
    for precision, source in sources.items():
        programs.save(source, folder / precision)
        for format in Format:
            path = folder / f"{precision}{EXPORTERS[format].SUFFIX}"
            made[format, precision] = worker.run(worker.Job(format, precision, folder / precision, path))
    return made


def run(artifact: Artifact, runtime: Runtime, samples: Samples) -> tuple[Array, ...]:
    """What the agent computes, in this process."""
    session = agent.LOADERS[str(runtime)](str(artifact.path), 1)
    last = artifact.layout is Layout.NHWC
    inputs = [np.moveaxis(x, 1, -1) if last and x.ndim == 4 else x for x in samples.inputs]
    batches, _ = agent.run(session, inputs, 1, marked=False)
    outputs = [np.concatenate(parts)[: len(samples)] for parts in zip(*batches, strict=True)]
    return tuple(np.moveaxis(y, -1, 1) if last and y.ndim == 4 else y for y in outputs)


def drift(done: Done, precision: Precision, reference: str) -> Iterator[tuple[Runtime, tuple[float, ...]]]:
    """The SQNR of each output that holds real numbers, a runtime at a time."""
    real = [k for k, y in enumerate(done.references.outputs["float"]) if y.dtype == np.float32]
    expected = tuple(done.references.outputs[reference][k] for k in real)
    for runtime in RUNTIMES:
        found = tuple(done.outputs[runtime, precision][k] for k in real)
        report = compare(f"x-{precision}@{runtime}", reference, found, expected, None)
        yield runtime, report.output_sqnr_db or (report.sqnr_db,)


def test_outputs_keep_their_names_order_and_shapes(done: Done) -> None:
    expected = OUTPUTS[done.card.name]
    assert done.card.output_names == done.float_program.output_names == tuple(expected)
    assert done.card.output_shapes == tuple(expected.values())
    for outputs in (*done.outputs.values(), *done.references.outputs.values()):
        assert [y.shape for y in outputs] == [(N_VALIDATION, *shape[1:]) for shape in expected.values()]


def test_an_onnx_model_calls_its_outputs_as_the_model_does(done: Done) -> None:
    import onnx

    for artifact in (artifact for (format, _), artifact in done.artifacts.items() if format is Format.ONNX):
        graph = onnx.load(artifact.path).graph
        assert tuple(output.name for output in graph.output) == done.card.output_names
        assert tuple(value.name for value in graph.input) == done.card.input_names


@pytest.mark.parametrize("done", IN_FP32, indirect=True)
def test_a_float_artifact_computes_what_the_model_does_in_every_runtime(done: Done) -> None:
    for runtime, sqnr_db in drift(done, Precision.FP32, "float"):
        assert min(sqnr_db) >= 100, (runtime, sqnr_db)


def test_an_int8_artifact_computes_nearly_what_the_model_does_in_every_runtime(done: Done) -> None:
    for runtime, sqnr_db in drift(done, Precision.INT8, "float"):
        assert min(sqnr_db) >= 15, (runtime, sqnr_db)


def test_the_runtimes_agree_with_the_quantized_graph_beyond_its_own_error(done: Done) -> None:
    for runtime, sqnr_db in drift(done, Precision.INT8, "pt2e"):
        assert min(sqnr_db) >= 25, (runtime, sqnr_db)


@pytest.mark.parametrize("done", IN_FP32, indirect=True)
def test_integer_outputs_are_the_same_numbers_in_every_runtime(done: Done) -> None:
    for k, expected in enumerate(done.references.outputs["float"]):
        if expected.dtype == np.int64:
            for runtime in RUNTIMES:
                np.testing.assert_array_equal(done.outputs[runtime, Precision.FP32][k], expected)
                assert np.mean(done.outputs[runtime, Precision.INT8][k] == expected) > 0.95


def test_what_lies_between_layers_is_integers_too_or_has_a_note(done: Done) -> None:
    for format in Format:
        artifact = done.artifacts[format, Precision.INT8]
        in_float = artifact.count(Compute.FLOAT32) + len(artifact.outside)
        named = [note for note in artifact.notes if " in float: " in note or " outside of " in note]
        assert in_float == 0 if done.card.name in CLEAN else bool(in_float) == bool(named)
        assert artifact.delegates == (format is Format.EXECUTORCH)


def test_inspect_formats_foretells_what_is_left(done: Done) -> None:
    for format in Format:
        assert surprises(done.artifacts[format, Precision.INT8], done.graph) == ()


def test_convolutions_and_linear_layers_are_integers_in_every_format(done: Done) -> None:
    """What stands between them may be left in float, with a note; these never."""
    heavy = ("conv", "fullyconnected", "gemm", "matmul")
    for format in Format:
        for operator in done.artifacts[format, Precision.INT8].operators:
            if any(name in operator.name.replace("_", "").lower() for name in heavy):
                assert operator.compute is not Compute.FLOAT32, (format, operator)


def test_a_batch_goes_through_export_and_validate_like_any_model(tmp_path: Path) -> None:
    model = load_model(f"{USERS}:FourAtOnce")
    np.save(tmp_path / "some.npy", inputs_of(model, N_CALIBRATION, 0).inputs[0])
    np.save(tmp_path / "others.npy", inputs_of(model, N_VALIDATION, 1).inputs[0])
    quantized = edgeds.quantize(model, tmp_path / "some.npy", validation=tmp_path / "others.npy", cache=False)
    bundle = edgeds.export(quantized, tmp_path / "out", formats="onnx", cache=False)
    assert bundle.manifest.model.output_shapes == ((4, 5),)
    assert {report.n_inputs for report in bundle.manifest.drift} == {N_VALIDATION}
    assert np.load(bundle.path / "samples/float_output_0.npy").shape == (N_VALIDATION, 5)
    assert edgeds.validate(bundle).drift == bundle.manifest.drift


def test_inputs_are_found_by_the_names_of_the_forwards_parameters(tmp_path: Path) -> None:
    model = load_model(f"{USERS}:Fusion")
    image, numbers = inputs_of(model, N_CALIBRATION, 0).inputs
    np.savez(tmp_path / "inputs.npz", numbers=numbers, image=image)
    captured = edgeds.capture(model, tmp_path / "inputs.npz", validation=tmp_path / "inputs.npz")
    assert captured.card.input_names == ("image", "numbers")
    np.testing.assert_array_equal(captured.validation.inputs[0], image)


def test_an_operator_that_a_format_lacks_is_refused_before_anything_is_calibrated() -> None:
    class Told(Silent):
        def start(self, step: str, total: int = 0) -> None:
            assert step != "quantize"

    model = load_model(f"{USERS}:TopBoxes")
    line = next(n for n, text in enumerate(USERS.read_text().splitlines(), 1) if "topk" in text)
    with pytest.raises(ModelError) as caught:
        edgeds.quantize(model, "random", formats=tuple(Format), cache=False, progress=Told())
    assert str(caught.value).startswith(f"TFLite cannot take aten.topk.default at any_models.py:{line}; ")
    assert str(caught.value).endswith("--format executorch,onnx")
    edgeds.capture(model, "random", formats=("executorch", "onnx"))
