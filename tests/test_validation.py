from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds import validation
from edgeds.cache import Cache
from edgeds.data.samples import make_samples
from edgeds.errors import ToolError
from edgeds.progress import Silent
from edgeds.run.fake import FakeRunner
from edgeds.spec import Array, Artifact, DriftLimits, Format, Layout, Precision, Runtime, Samples
from edgeds.validation import References

SCALE = 0.5
FLOAT = np.array([[4.0, 1.0], [0.0, 2.0], [8.0, -8.0]], np.float32)
PT2E = FLOAT + np.array([[0.5, 0], [0, 0], [0, 0]], np.float32)
SUBJECTS = ["executorch-int8@executorch", "onnx-int8@onnxruntime", "tflite-int8@litert", "tflite-int8@tflite-runtime"]


class Told(Silent):
    """A progress that remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, step: str, total: int = 0) -> None:
        self.lines.append(f"start {step} {total}")

    def finish(self, step: str, note: str = "") -> None:
        self.lines.append(f"finish {step}")

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def artifact(format: Format, precision: Precision = Precision.INT8) -> Artifact:
    sha256 = f"{list(Format).index(format)}{list(Precision).index(precision)}".ljust(64, "0")
    return Artifact(format, precision, Path("file"), sha256, 1, Layout.NCHW, (), 0, (), (), ())


@pytest.fixture
def samples() -> Samples:
    inputs = np.arange(6, dtype=np.float32).reshape(3, 2)
    return make_samples([inputs], ["a", "b", "c"], ["a", "b", "c"], "arrays")


def validated(
    monkeypatch: pytest.MonkeyPatch,
    samples: Samples,
    runner: FakeRunner,
    artifacts: list[Artifact],
    limits: DriftLimits | None = None,
    store: Cache | None = None,
    progress: Silent | None = None,
    folder: Path = Path("unused"),
) -> Any:
    monkeypatch.setattr(validation, "host", runner)
    reference = References({"float": (FLOAT,), "pt2e": (PT2E,)}, (SCALE,))
    limits = limits or DriftLimits()
    return validation.validate(artifacts, folder, samples, reference, limits, store, progress or Silent())


def outputs(*subjects: str, value: Array = PT2E) -> dict[str, tuple[Array, ...]]:
    return {subject: (value,) for subject in subjects}


def test_each_artifact_is_compared_with_both_references_and_each_two_runtimes_with_each_other(
    monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    runner = FakeRunner(outputs(*SUBJECTS))
    found = validated(monkeypatch, samples, runner, [artifact(format) for format in Format])
    pairs = [(d.subject, d.reference) for d in found.drift]
    assert pairs[0] == ("pt2e", "float")
    assert pairs[1:9] == [(subject, name) for subject in SUBJECTS for name in ("float", "pt2e")]
    assert pairs[9:] == [(b, a) for k, a in enumerate(SUBJECTS) for b in SUBJECTS[k + 1 :]]
    assert all(d.n_inputs == 3 for d in found.drift)
    assert found.drift[2].sqnr_db == math.inf and found.drift[2].lsb_histogram == ((0, 6),)
    assert dict(found.drift[1].lsb_histogram) == {0: 5, 1: 1}  # half a unit is one step of the output
    assert found.drift[1].sqnr_db == pytest.approx(10 * math.log10(149 / 0.25))
    assert (found.violations, found.warnings) == ((), ())
    assert set(found.runtimes) == set(Runtime)


def test_a_float_artifact_is_compared_with_the_float_model_alone(
    monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    runner = FakeRunner(outputs("onnx-fp32@onnxruntime", value=FLOAT))
    found = validated(monkeypatch, samples, runner, [artifact(Format.ONNX, Precision.FP32)])
    assert [(d.subject, d.reference) for d in found.drift] == [("pt2e", "float"), ("onnx-fp32@onnxruntime", "float")]
    assert found.drift[1].lsb_histogram == ()


def test_a_broken_artifact_exceeds_its_limits_and_is_named(monkeypatch: pytest.MonkeyPatch, samples: Samples) -> None:
    runner = FakeRunner(outputs(SUBJECTS[0]) | outputs(SUBJECTS[1], value=-PT2E))
    found = validated(monkeypatch, samples, runner, [artifact(Format.EXECUTORCH), artifact(Format.ONNX)])
    assert [v.split(":")[0] for v in found.violations] == [SUBJECTS[1], SUBJECTS[1], "int8 runtimes"]


def test_a_runtime_that_cannot_be_had_is_a_warning_without_paths_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    why = "installing with pip failed with exit code 1: ERROR: offline; the command was /home/me/python -m pip install"
    runner = FakeRunner(outputs(SUBJECTS[2]), missing={Runtime.TFLITE_RUNTIME: why})
    told = Told()
    found = validated(monkeypatch, samples, runner, [artifact(Format.TFLITE)], progress=told)
    text = "not validated in tflite-runtime: installing with pip failed with exit code 1: ERROR: offline"
    assert found.warnings == (text,)
    assert list(found.runtimes) == ["litert"]
    assert told.lines == [
        "start set up tflite-runtime 0",
        f"warning: {text}",
        "finish set up tflite-runtime",
        "start validate 1",
        "finish validate",
    ]


def test_artifacts_that_no_runtime_can_run_are_not_passed(monkeypatch: pytest.MonkeyPatch, samples: Samples) -> None:
    runner = FakeRunner({}, missing={Runtime.ONNXRUNTIME: "onnxruntime is not installed"})
    with pytest.raises(ToolError, match=r"no runtime is left to validate in: .*onnxruntime is not installed"):
        validated(monkeypatch, samples, runner, [artifact(Format.ONNX)])


def test_a_model_that_ignores_its_input_is_a_warning(monkeypatch: pytest.MonkeyPatch, samples: Samples) -> None:
    monkeypatch.setitem(globals(), "FLOAT", np.ones((3, 2), np.float32))
    told = Told()
    found = validated(monkeypatch, samples, FakeRunner(outputs(SUBJECTS[1])), [artifact(Format.ONNX)], progress=told)
    (warning,) = found.warnings
    assert warning.startswith("the float model gives the same answer to all 3 samples")
    assert f"warning: {warning}" in told.lines


def test_a_runtime_that_fails_ends_the_validation(monkeypatch: pytest.MonkeyPatch, samples: Samples) -> None:
    runner = FakeRunner({SUBJECTS[0]: ToolError("it crashed")})
    with pytest.raises(ToolError, match="it crashed"):
        validated(monkeypatch, samples, runner, [artifact(Format.EXECUTORCH)])


def test_a_run_is_not_repeated_until_artifact_or_samples_change(
    monkeypatch: pytest.MonkeyPatch, samples: Samples, tmp_path: Path
) -> None:
    runner = FakeRunner(outputs(*SUBJECTS))
    store, one = Cache(tmp_path), artifact(Format.ONNX)
    first = validated(monkeypatch, samples, runner, [one], store=store)
    again = validated(monkeypatch, samples, runner, [one], store=store)
    assert runner.runs == [SUBJECTS[1]]
    assert (first.drift, first.runtimes) == (again.drift, again.runtimes)
    validated(monkeypatch, samples, runner, [replace(one, sha256="f" * 64)], store=store)
    other = make_samples([samples.inputs[0] + 1], samples.names, samples.groups, "arrays")
    validated(monkeypatch, other, runner, [one], store=store)
    assert len(runner.runs) == 3


def test_the_references_are_what_pytorch_computes(tiny: Any, evaluate: Any, samples_of: Any, tmp_path: Path) -> None:
    inputs = samples_of(tiny.inputs[:3])
    plain = validation.references(tiny.float_program, tiny.graph, inputs, None)
    stored = [validation.references(tiny.float_program, tiny.graph, inputs, Cache(tmp_path)) for _ in range(2)]
    for name, program in (("float", tiny.float_program), ("pt2e", tiny.graph)):
        expected = evaluate(program, tiny.inputs[:3])[0]
        for found in (plain, *stored):
            np.testing.assert_array_equal(found.outputs[name][0], expected)
    assert plain.scales == (tiny.tensors[-1].scale[0],)


def test_inputs_that_the_graph_clips_are_a_warning(
    tiny: Any, samples_of: Any, monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    like_calibration, brighter = (samples_of(tiny.inputs[:2] * factor) for factor in (1, 100))
    assert validation.references(tiny.float_program, tiny.graph, like_calibration, None).clipped == ()
    (said,) = validation.references(tiny.float_program, tiny.graph, brighter, None).clipped
    assert " % of the values of input x are clipped: they reach from " in said
    monkeypatch.setattr(validation, "host", FakeRunner(outputs(SUBJECTS[1])))
    reference = References({"float": (FLOAT,), "pt2e": (PT2E,)}, (SCALE,), (said,))
    told = Told()
    found = validation.validate([artifact(Format.ONNX)], Path("unused"), samples, reference, DriftLimits(), None, told)
    assert found.warnings == (said,) and f"warning: {said}" in told.lines


def test_without_a_quantized_graph_there_is_one_reference(tiny: Any, samples_of: Any) -> None:
    found = validation.references(tiny.float_program, None, samples_of(tiny.inputs[:1]), None)
    assert (list(found.outputs), found.scales) == (["float"], None)
