from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeds.export import onnx_forms, onnx_rewrites
from edgeds.spec import Array

SHAPE = [1, 2, 5, 6]


def between(
    operator: Any, scales: tuple[float, float], zero_points: tuple[Any, Any], **tensors: Any
) -> onnx.ModelProto:
    """Quantize → dequantize → the operator → quantize → dequantize."""
    constants = {
        "s": np.float32(scales[0]),
        "z": zero_points[0],
        "t": np.float32(scales[1]),
        "y": zero_points[1],
        **{name: np.float32(value) for name, value in tensors.items()},
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        operator,
        helper.make_node("QuantizeLinear", ["o", "t", "y"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "t", "y"], ["output"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    value_info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value_info("x", TensorProto.FLOAT, SHAPE)],
        [value_info("output", TensorProto.FLOAT, SHAPE)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto) -> Array:
    """What ONNX Runtime computes for values of the whole int8 range."""
    import onnxruntime

    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).uniform(-8, 8, SHAPE).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    value: Array = session.run(None, {"x": x})[0]
    return value


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_a_tanh_between_integers_is_a_sigmoid_with_the_same_values(kind: type) -> None:
    middle = np.iinfo(kind).min + 128
    tanh = helper.make_node("Tanh", ["d"], ["o"], name="tanh")
    model = between(tanh, (0.06, 1 / 128), (kind(middle - 5), kind(middle)))
    before = run(model)
    onnx_forms.tanh_as_sigmoid(model)
    onnx_rewrites.remove_unused(model)
    assert kinds(model) == ["QuantizeLinear", "DequantizeLinear", "Sigmoid", "QuantizeLinear", "DequantizeLinear"]
    np.testing.assert_array_equal(run(model), before)
    assert len(np.unique(before)) > 10  # else the claim would be empty


@pytest.mark.parametrize(("scale", "zero_point"), [(1 / 120, 128), (1 / 128, 127)])
def test_a_tanh_of_another_scale_stays(scale: float, zero_point: int) -> None:
    tanh = helper.make_node("Tanh", ["d"], ["o"], name="tanh")
    model = between(tanh, (0.06, scale), (np.uint8(128), np.uint8(zero_point)))
    onnx_forms.tanh_as_sigmoid(model)
    assert "Tanh" in kinds(model)


RELU = helper.make_node("Relu", ["d"], ["o"], name="clamp")
CLIP = helper.make_node("Clip", ["d", "low", "high"], ["o"], name="clamp")
UPPER = helper.make_node("Clip", ["d", "", "high"], ["o"], name="clamp")


@pytest.mark.parametrize("operator", [RELU, CLIP, UPPER], ids=["Relu", "Clip", "Clip without a lower bound"])
@pytest.mark.parametrize("zero_point", [np.uint8(100), np.int8(-20)])
def test_a_clamp_that_keeps_the_scale_is_a_clip_of_integers(operator: Any, zero_point: Any) -> None:
    model = between(operator, (0.06, 0.06), (zero_point, zero_point), low=-0.5, high=3.03)
    before = run(model)
    onnx_forms.integer_clip(model)
    onnx_rewrites.remove_unused(model)
    assert kinds(model) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    np.testing.assert_array_equal(run(model), before)
    assert before.min() > -1 or before.max() < 4  # it clamped


@pytest.mark.parametrize(("scale", "zero_point"), [(0.05, 100), (0.06, 90)])
def test_a_clamp_that_changes_the_scale_stays(scale: float, zero_point: int) -> None:
    model = between(RELU, (0.06, scale), (np.uint8(100), np.uint8(zero_point)))
    onnx_forms.integer_clip(model)
    assert "Relu" in kinds(model)


def test_a_clamp_that_is_an_output_too_stays() -> None:
    model = between(RELU, (0.06, 0.06), (np.uint8(100), np.uint8(100)))
    model.graph.output.append(helper.make_tensor_value_info("o", TensorProto.FLOAT, SHAPE))
    onnx_forms.integer_clip(model)
    assert "Relu" in kinds(model)
