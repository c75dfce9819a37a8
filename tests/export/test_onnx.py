from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeds.export import onnx_rewrites
from edgeds.spec import Array, Format


@pytest.fixture(scope="module", params=["onnx-int8", "onnx-fp32"])
def model(request: pytest.FixtureRequest, tiny_artifacts: Any) -> onnx.ModelProto:
    return onnx.load(tiny_artifacts.artifacts[request.param].path)


@pytest.fixture(scope="module")
def int8_model(tiny_artifacts: Any) -> onnx.ModelProto:
    return onnx.load(tiny_artifacts.artifacts[f"{Format.ONNX}-int8"].path)


def test_the_model_passes_the_full_check_with_a_new_enough_opset(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [o.version >= 20 for o in model.opset_import if o.domain == ""] == [True]


def test_no_metadata_is_left(model: onnx.ModelProto) -> None:
    holders = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    assert [h for h in holders if h.metadata_props or h.doc_string] == []
    assert model.producer_version == ""


def test_inputs_and_outputs_have_names_that_a_user_can_guess(model: onnx.ModelProto) -> None:
    assert [v.name for v in model.graph.input] == ["x"]
    assert [v.name for v in model.graph.output] == ["output"]


def test_weights_are_int8_activations_uint8_and_biases_are_all_that_is_float(int8_model: onnx.ModelProto) -> None:
    tensors = {t.name: numpy_helper.to_array(t) for t in int8_model.graph.initializer}
    for node in int8_model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            assert tensors[node.input[0]].dtype == np.int8
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert tensors[node.input[2]].dtype == np.uint8
    big = [t for t in tensors.values() if t.dtype == np.float32 and t.ndim > 1]
    assert big == []


def test_every_tensor_in_the_file_is_used(int8_model: onnx.ModelProto) -> None:
    used = {name for node in int8_model.graph.node for name in node.input}
    assert {t.name for t in int8_model.graph.initializer} <= used


def test_the_stride_two_convolution_took_the_pad(int8_model: onnx.ModelProto) -> None:
    assert "Pad" not in {node.op_type for node in int8_model.graph.node}
    first = next(node for node in int8_model.graph.node if node.op_type == "Conv")
    assert next(list(a.ints) for a in first.attribute if a.name == "pads") == [0, 0, 1, 1]


def small(nodes: list[onnx.NodeProto], tensors: dict[str, Array], shape: list[int]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "small", [x], [y], initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def run(model: onnx.ModelProto, x: Array) -> Array:
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(model).run(None, {"x": x})
    value: Array = outputs[0]
    return value


def padded_convolution(pad_scale: float, value: float, amounts: list[int]) -> onnx.ModelProto:
    """Quantize → dequantize → pad → quantize (with a scale of its own) → dequantize → convolution."""
    tensors: dict[str, Any] = {
        "s": np.float32(0.05),
        "ps": np.float32(pad_scale),
        "z": np.int8(3),
        "w": np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3),
        "amounts": np.array(amounts),
        "value": np.float32(value),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Pad", ["d", "amounts", "value"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "ps", "z"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "ps", "z"], ["pd"]),
        helper.make_node("Conv", ["pd", "w"], ["y"], pads=[1, 0, 0, 1], strides=[2, 1]),
    ]
    return small(nodes, tensors, [1, 2, 5, 6])


@pytest.mark.parametrize(
    ("pad_scale", "value", "amounts", "folded"),
    [
        (0.05, 0.0, [0, 0, 0, 1, 0, 0, 2, 3], True),
        (0.05, 1.0, [0, 0, 0, 1, 0, 0, 2, 3], False),  # not zeros
        (0.07, 0.0, [0, 0, 0, 1, 0, 0, 2, 3], False),  # requantized on the way
    ],
)
def test_only_a_pad_of_zeros_at_the_same_scale_is_folded_into_the_convolution(
    pad_scale: float, value: float, amounts: list[int], folded: bool
) -> None:
    model = padded_convolution(pad_scale, value, amounts)
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 6)).astype(np.float32)
    before = run(model, x)
    onnx_rewrites.fold_pads(model)
    onnx_rewrites.remove_unused(model)
    np.testing.assert_allclose(run(model, x), before, atol=1e-4)
    assert ("Pad" not in {node.op_type for node in model.graph.node}) == folded


@pytest.mark.parametrize(
    ("shape", "axes", "keepdims", "pooled"),
    [
        ([1, 2, 3, 4], [2, 3], 1, True),
        ([1, 2, 3, 4], [-1, -2], 1, True),
        ([1, 2, 3, 4], [2, 3], 0, False),
        ([1, 2, 3, 4], [1, 2], 1, False),
        ([1, 2, 3, 4, 5], [2, 3], 1, False),
        ([1, 2, 3, 4, 5], [-2, -1], 1, False),
    ],
)
def test_only_a_mean_over_the_image_becomes_a_global_average_pool(
    shape: list[int], axes: list[int], keepdims: int, pooled: bool
) -> None:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
    model = small([node], {"axes": np.array(axes)}, shape)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    before = run(model, x)
    onnx_rewrites.mean_to_global_average_pool(model)
    np.testing.assert_allclose(run(model, x), before, rtol=1e-5)
    assert (model.graph.node[0].op_type == "GlobalAveragePool") == pooled


def test_uint8_activations_have_the_same_real_values_and_weights_stay_int8() -> None:
    tensors: dict[str, Any] = {"s": np.float32(0.05), "z": np.int8(-3), "w": np.arange(-3, 3, dtype=np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Mul", ["d", "wd"], ["y"]),
    ]
    model = small(nodes, tensors, [1, 6])
    x = np.array([[-100.0, -1.0, 0.0, 0.03, 1.0, 100.0]], np.float32)
    before = run(model, x)
    onnx_rewrites.activations_to_uint8(model)
    onnx_rewrites.remove_unused(model)
    np.testing.assert_array_equal(run(model, x), before)
    types = {t.name: numpy_helper.to_array(t).dtype for t in model.graph.initializer}
    assert types == {"s": np.float32, "z": np.int8, "z_uint8": np.uint8, "w": np.int8}


def test_no_two_operators_share_a_weight_or_a_zero_point() -> None:
    """ONNX Runtime's remedy against saturation fails on such a model, on x86 without VNNI."""
    tensors: dict[str, Any] = {"w": np.full((1, 1, 1, 1), 3, np.int8), "one": np.float32(1), "zero": np.int8(0)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "one", "zero"], [f"w{k}"]) for k in (1, 2)]
    reads = (("x", "w1", "c"), ("c", "w2", "d"), ("d", "w2", "y"))  # two dequantize one constant, one is read twice
    nodes += [helper.make_node("Conv", [x, w], [y]) for x, w, y in reads]
    model = small(nodes, {name: np.asarray(value) for name, value in tensors.items()}, [1, 1, 2, 2])
    before = run(model, np.ones((1, 1, 2, 2), np.float32))
    onnx_rewrites.own_constants(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    dequantize = {node.output[0]: list(node.input) for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = [dequantize[conv.input[1]] for conv in convolutions]
    assert found == [["w", "one", "zero"], ["w_2", "one", "zero_2"], ["w_3", "one", "zero_3"]]
    np.testing.assert_array_equal(run(model, np.ones((1, 1, 2, 2), np.float32)), before)


def test_a_copy_of_a_constant_has_a_name_that_nothing_else_has() -> None:
    """The exporter itself numbers names so: w, w_1, w_2."""
    tensors = {"w": np.full((1, 1, 1, 1), 3, np.int8), "w_2": np.full((1, 1, 1, 1), 5, np.int8)}
    tensors |= {"one": np.asarray(np.float32(1)), "zero": np.asarray(np.int8(0))}
    nodes = [helper.make_node("DequantizeLinear", [w, "one", "zero"], [f"{w}_f"]) for w in ("w", "w_2")]
    nodes += [helper.make_node("Identity", ["x"], ["w_f_2"])]
    reads = (("w_f_2", "w_f", "c"), ("c", "w_f", "d"), ("d", "w_2_f", "y"))
    nodes += [helper.make_node("Conv", [x, w], [y]) for x, w, y in reads]
    model = small(nodes, tensors, [1, 1, 2, 2])
    x = np.ones((1, 1, 2, 2), np.float32)
    before = run(model, x)
    onnx_rewrites.own_constants(model)
    outputs = [name for node in model.graph.node for name in node.output]
    assert len(set(outputs)) == len(outputs)
    np.testing.assert_array_equal(run(model, x), before)
    assert before.flat[0] == 3 * 3 * 5
