"""The twin of the tiny model gives the same bits as each runtime; what it does not model it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeds import twin
from edgeds.errors import DataError, InputError, ModelError
from edgeds.run import host
from edgeds.spec import Array, Artifact, Runtime
from edgeds.twin import Twin

if TYPE_CHECKING:
    from tests.conftest import Lowered, Tiny

SUBJECTS = (
    ("executorch-int8", Runtime.EXECUTORCH),
    ("onnx-int8", Runtime.ONNXRUNTIME),
    ("tflite-int8", Runtime.LITERT),
    ("tflite-float-io", Runtime.LITERT),
)


def _twin(lowered: Lowered, name: str, runtime: Runtime) -> tuple[Artifact, Twin]:
    artifact = lowered.artifacts[name]
    return artifact, twin.load(artifact, artifact.path, runtime)


def _bits(x: Array) -> Array:
    return x.view(np.int32)


@pytest.mark.parametrize(("name", "runtime"), SUBJECTS)
def test_the_twin_gives_the_same_bits_as_the_runtime(
    tiny: Tiny, tiny_artifacts: Lowered, name: str, runtime: Runtime
) -> None:
    artifact, own = _twin(tiny_artifacts, name, runtime)
    (expected,) = host.run(artifact, artifact.path, runtime, (tiny.inputs,)).outputs
    (found,) = own.run((tiny.inputs,))
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(_bits(found), _bits(expected))


@pytest.mark.parametrize(("name", "runtime"), SUBJECTS)
def test_a_layer_computed_from_its_inputs_gives_what_the_whole_run_gave(
    tiny: Tiny, tiny_artifacts: Lowered, name: str, runtime: Runtime
) -> None:
    _, own = _twin(tiny_artifacts, name, runtime)
    values = own.trace((tiny.inputs,))
    assert set(values) == {*own.inputs, *(output for layer in own.layers for output in layer.outputs)}
    for layer in own.layers:
        for output, again in zip(layer.outputs, own.step(layer, [values[name] for name in layer.inputs]), strict=True):
            np.testing.assert_array_equal(again, values[output])


@pytest.mark.parametrize(("name", "runtime"), SUBJECTS)
def test_every_value_has_the_shape_and_the_type_that_the_twin_says(
    tiny: Tiny, tiny_artifacts: Lowered, name: str, runtime: Runtime
) -> None:
    _, own = _twin(tiny_artifacts, name, runtime)
    for name_of, value in own.trace((tiny.inputs[:2],)).items():
        said = own.values[name_of]
        assert value.shape[1:] == said.shape[1:]
        assert str(value.dtype) == ("float32" if said.quantization is None else said.quantization.dtype)


def test_samples_do_not_depend_on_their_neighbours(tiny: Tiny, tiny_artifacts: Lowered) -> None:
    _, own = _twin(tiny_artifacts, "tflite-int8", Runtime.LITERT)
    many = np.concatenate([tiny.inputs, tiny.inputs[::-1], tiny.inputs[:3]])
    (once,), (all_,) = own.run((tiny.inputs,)), own.run((many,))
    np.testing.assert_array_equal(all_, np.concatenate([once, once[::-1], once[:3]]))


def test_a_float_artifact_has_no_twin(tiny_artifacts: Lowered) -> None:
    artifact = tiny_artifacts.artifacts["onnx-fp32"]
    with pytest.raises(InputError, match="onnx-fp32 computes in floats"):
        twin.load(artifact, artifact.path, Runtime.ONNXRUNTIME)


def test_a_runtime_without_a_twin_or_of_another_format_is_refused(tiny_artifacts: Lowered) -> None:
    artifact = tiny_artifacts.artifacts["tflite-int8"]
    with pytest.raises(InputError, match="unknown runtime with a twin 'tflite-runtime'; choose from"):
        twin.load(artifact, artifact.path, Runtime.TFLITE_RUNTIME)
    with pytest.raises(InputError, match="unknown runtime of tflite 'onnxruntime'; choose from"):
        twin.load(artifact, artifact.path, Runtime.ONNXRUNTIME)


@pytest.mark.parametrize("format_", ["executorch", "onnx", "tflite"])
def test_a_graph_in_floats_is_refused_by_operator_and_place(tiny_artifacts: Lowered, format_: str) -> None:
    artifact = tiny_artifacts.artifacts[f"{format_}-fp32"]
    lie = replace(artifact, precision=tiny_artifacts.artifacts[f"{format_}-int8"].precision)
    runtime = dict(zip(("executorch", "onnx", "tflite"), (runtime for _, runtime in SUBJECTS), strict=False))[format_]
    with pytest.raises(
        ModelError, match=rf"the twin does not model (this )?\w+, (node|operator) \d+ of {artifact.path.name}"
    ):
        twin.load(lie, artifact.path, runtime)


def test_inputs_of_another_shape_type_or_number_are_refused(
    tiny: Tiny, tiny_artifacts: Lowered, tmp_path: Path
) -> None:
    _, own = _twin(tiny_artifacts, "tflite-int8", Runtime.LITERT)
    with pytest.raises(DataError, match=r"is float32 \[8, 3, 32, 31\]; give float32 \['N', 3, 32, 32\]"):
        own.run((tiny.inputs[..., :-1],))
    with pytest.raises(DataError, match="is float64"):
        own.run((tiny.inputs.astype(np.float64),))
    with pytest.raises(DataError, match="takes 1 inputs, not 2"):
        own.run((tiny.inputs, tiny.inputs))
