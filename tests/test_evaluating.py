"""Accuracy of a bundle whose artifacts answer what a test has programmed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeds import evaluating, pipeline, twin
from edgeds.data import labelled
from edgeds.errors import InputError, LimitError, ToolError
from edgeds.progress import Silent
from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.run.fake import FakeRunner
from edgeds.spec import (
    Array,
    Artifact,
    Bundle,
    DataCard,
    FloatModel,
    Format,
    Layout,
    ModelCard,
    Precision,
    QuantizedModel,
    RunRecord,
    Runtime,
    Samples,
)

SUBJECT = "onnx-int8@onnxruntime"
N = 8
LABELS = ("ant", "bee", "cat", "dog", "eel")


class Told(Silent):
    """A progress that remembers how a step went."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def update(self, step: str, done: int) -> None:
        self.counts.append(done)

    def finish(self, step: str, note: str = "") -> None:
        self.notes += [note] * bool(note)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass(slots=True)
class Runner(FakeRunner):
    """A FakeRunner that answers by the sample's first value, so that each piece of a set gets its own answers; fails after `last` runs."""

    last: int = 1000

    def run(
        self,
        artifact: Artifact,
        path: Path,
        runtime: Runtime,
        inputs: tuple[Array, ...],
        threads: int = 1,
        repeats: int = 1,
    ) -> RunRecord:
        if len(self.runs) == self.last:
            raise ToolError("the power went out")
        record = FakeRunner.run(self, artifact, path, runtime, inputs, threads, repeats)
        programmed = self.outputs[f"{artifact.name}@{runtime}"]
        assert isinstance(programmed, tuple)
        return replace(record, outputs=(programmed[0][inputs[0][:, 0, 0, 0].astype(int)],))


def put(folder: Path) -> Artifact:
    (folder / "net.onnx").write_bytes(b"an artifact")
    found = (hashlib.sha256(b"an artifact").hexdigest(), len(b"an artifact"))
    return Artifact(Format.ONNX, Precision.INT8, Path("net.onnx"), *found, Layout.NCHW, (), 0, (), (), ())


@pytest.fixture(scope="module")
def make(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """A bundle of the tiny net with one artifact that nobody can run."""

    def bundle(seeded: bool = False) -> Bundle:
        card = ModelCard("tiny", "made", 9, ((1, 3, 32, 32),), ((1, 5),), None, LABELS, ("x",))
        source = FloatModel(card, tiny.float_program, tiny.calibration, seeded, ())
        model = QuantizedModel(source, tiny.graph, Recipe(), DataCard("made", 16, "0" * 64), tiny.tensors)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edgeds.lowering.lower_all", lambda orders, folder, *a: (put(folder),))
            patch.setattr("edgeds.validation.host", FakeRunner({SUBJECT: (np.ones((16, 5), np.float32),)}))
            patch.setattr("edgeds.crosscheck.require_right", lambda *a: ())
            return pipeline.export(model, tmp_path_factory.mktemp("out") / "tiny", formats="onnx", cache=False)

    return bundle


@pytest.fixture(scope="module")
def bundle(make: Callable[..., Bundle]) -> Bundle:
    return make()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tiny: Any, evaluate: Any, tmp_path: Path, cache: Path) -> tuple[Path, Array, Array]:
    """A labelled set, the float model's classes, and labels: the float model is right but for the last two samples."""
    inputs = tiny.inputs[:N].copy()
    inputs[:, 0, 0, 0] = np.arange(N)  # by this the runner knows them
    said = evaluate(tiny.float_program, inputs)[0].argmax(1)
    labels = said.copy()
    labels[-2:] = (said[-2:] + 1) % 5
    np.savez(tmp_path / "set.npz", inputs=inputs, labels=labels)
    return tmp_path / "set.npz", said, labels


def answering(classes: Array) -> Runner:
    return Runner({SUBJECT: (np.eye(5, dtype=np.float32)[classes],)})


def evaluated(monkeypatch: pytest.MonkeyPatch, runner: FakeRunner, *given: Any, **options: Any) -> Any:
    monkeypatch.setattr("edgeds.validation.host", runner)
    monkeypatch.setattr("edgeds.evaluating.host", runner)
    return evaluating.evaluate(*given, **options)


def test_accuracy_counts_what_is_right_lost_and_won(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    path, said, labels = data
    answers = said.copy()
    answers[0] = (said[0] + 1) % 5  # lost
    answers[6] = labels[6]  # won
    answers[7] = (labels[7] + 1) % 5  # wrong in another way
    found = evaluated(monkeypatch, answering(answers), bundle, path)
    of_float, of_artifact = found.accuracy
    assert (of_float.subject, of_float.top1.count, of_float.p_value, of_float.agreement) == ("float", 6, None, 1.0)
    assert (of_artifact.subject, of_artifact.top1.count, of_artifact.lost, of_artifact.won) == (SUBJECT, 6, 1, 1)
    assert (of_artifact.p_value, of_artifact.agreement) == (1.0, 5 / 8)
    assert (of_float.top5, of_artifact.top5) == (None, None)  # of five classes
    assert (found.data.source, found.data.n_samples, found.classes, found.runtimes) == (
        "set.npz",
        8,
        LABELS,
        {"onnxruntime": "0"},
    )
    lost, won, other = found.disagreements
    assert [one.sample for one in (lost, won, other)] == ["set.npz#0", "set.npz#6", "set.npz#7"]
    assert lost.label == said[0] and lost.said == {"float": said[0], SUBJECT: answers[0]}


def test_an_evaluation_that_was_interrupted_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    path, said, _ = data
    monkeypatch.setattr(labelled, "PIECE_SAMPLES", 3)
    outputs = answering(said).outputs
    with pytest.raises(ToolError, match="the power went out"):
        evaluated(monkeypatch, Runner(outputs, last=1), bundle, path)
    rest, told = Runner(outputs), Told()
    found = evaluated(monkeypatch, rest, bundle, path, progress=told)
    assert rest.runs == [SUBJECT] * 2  # of three pieces
    assert told.counts[-1] == 2 * N and told.notes[-1].endswith("% from the cache")
    again = Runner(outputs)
    assert (evaluated(monkeypatch, again, bundle, path), again.runs) == (found, [])
    assert (evaluated(monkeypatch, again, bundle, path, cache=False), again.runs) == (found, [SUBJECT] * 3)


def test_other_labels_use_what_was_run_and_other_inputs_do_not(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    path, said, _ = data
    runner = answering(said)
    first = evaluated(monkeypatch, runner, bundle, path)
    inputs = np.load(path)["inputs"]
    np.savez(path, inputs=inputs, labels=said)
    second = evaluated(monkeypatch, runner, bundle, path)
    assert (first.accuracy[1].top1.count, second.accuracy[1].top1.count) == (6, 8)
    assert len(runner.runs) == 1 and first.data.digest != second.data.digest
    np.savez(path, inputs=inputs + 0.25, labels=said)
    evaluated(monkeypatch, runner, bundle, path)
    assert len(runner.runs) == 2


def test_a_limit_is_spread_over_the_set(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    found = evaluated(monkeypatch, answering(data[1]), bundle, data[0], limit=2)
    assert found.data.n_samples == 2 and found.accuracy[0].top1.total == 2


def test_random_weights_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Bundle], data: tuple[Path, Array, Array]
) -> None:
    told = Told()
    found = evaluated(monkeypatch, answering(data[1]), make(seeded=True), data[0], progress=told)
    assert found.warnings == (evaluating.SEEDED_WARNING,) == tuple(told.warnings)


def test_a_runtime_that_computes_nan_is_named(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    runner = Runner({SUBJECT: (np.full((N, 5), np.nan, np.float32),)})
    with pytest.raises(LimitError, match=f"^{SUBJECT} computes NaN or infinity in 40 of 40"):
        evaluated(monkeypatch, runner, bundle, data[0])


def test_a_bundle_that_no_runtime_can_run_is_not_evaluated(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, data: tuple[Path, Array, Array]
) -> None:
    runner = FakeRunner({}, missing={Runtime.ONNXRUNTIME: "onnxruntime is not installed"})
    with pytest.raises(ToolError, match=r"^no runtime is left to evaluate in: .*onnxruntime is not installed"):
        evaluated(monkeypatch, runner, bundle, data[0])


@pytest.mark.parametrize(
    ("shape", "right"), [((1, 10), True), ((4, 2, 1, 1), True), ((1, 1), False), ((1, 3, 7, 7), False)]
)
def test_only_a_model_that_gives_scores_is_evaluated(shape: tuple[int, ...], right: bool) -> None:
    if right:
        assert evaluating._classes(shape) == shape[1]
    else:
        with pytest.raises(InputError, match=r"which are no scores of classes \[N, C\]; accuracy needs a classifier"):
            evaluating._classes(shape)


def sum_of_two(folder: Path) -> Artifact:
    """Two inputs [1, 2] with a step of 1, and their sum with a step of 2."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[1, 2] a, float[1, 2] b) => (float[1, 2] y)
        <float one = {1}, float two = {2}, uint8 zero = {128}>
        {
            qa = QuantizeLinear(a, one, zero)
            qb = QuantizeLinear(b, one, zero)
            da = DequantizeLinear(qa, one, zero)
            db = DequantizeLinear(qb, one, zero)
            s = Add(da, db)
            qs = QuantizeLinear(s, two, zero)
            y = DequantizeLinear(qs, two, zero)
        }
    """)
    onnx.save(model, folder / "sum.onnx")
    return replace(put(folder), path=Path("sum.onnx"))


def test_the_twin_says_what_an_arm64_device_answers(bundle: Bundle, tmp_path: Path) -> None:
    """0.5 and 2.5 steps: ONNX Runtime rounds the halves of a sum up on ARM, to even on x86."""
    artifact = sum_of_two(tmp_path)
    a, b = (np.array([row], np.float32) for row in ([1, 3], [0, 2]))
    samples = Samples((a, b), ("one",), ("one",), "", "0" * 64)
    found, version = evaluating._in_twin(replace(bundle, path=tmp_path), artifact, Runtime.ONNXRUNTIME).run(samples)
    path = tmp_path / artifact.path
    (here,) = twin.outputs(artifact, path, Runtime.ONNXRUNTIME, (a, b), twin.Machine.X86_64)
    assert (found.tolist(), here.tolist(), version) == ([[2, 6]], [[0, 4]], "twin, aarch64")
    (run,) = host.run(artifact, path, Runtime.ONNXRUNTIME, (a, b)).outputs
    assert run.tolist() == here.tolist()
