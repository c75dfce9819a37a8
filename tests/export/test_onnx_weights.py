"""separate_weights: ONNX Runtime computes without saturation on any CPU, whatever weights are shared."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeds.export.onnx_weights import separate_weights
from edgeds.spec import Array

SCALE = np.float32(0.02)


def model(shared: bool) -> onnx.ModelProto:
    """Two convolutions, of one weight or of two that are equal, with one zero point; sums that 16 bits cannot hold."""
    weight = np.full((4, 8, 1, 1), 127, np.int8)
    weight[1::2] = -127
    tensors = {
        "w": weight,
        "v": weight,
        "s": np.full(4, SCALE),
        "z": np.zeros(4, np.int8),
        "t": SCALE,
        "y": np.uint8(0),
    }
    second = "w" if shared else "v"
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", [second, "s", "z"], ["vf"], axis=0),
    ]
    for k, name in enumerate(("wf", "vf")):
        nodes += [
            helper.make_node("QuantizeLinear", [f"x{k}", "t", "y"], [f"q{k}"]),
            helper.make_node("DequantizeLinear", [f"q{k}", "t", "y"], [f"d{k}"]),
            helper.make_node("Conv", [f"d{k}", name], [f"c{k}"]),
            helper.make_node("QuantizeLinear", [f"c{k}", "u", "y"], [f"p{k}"]),
            helper.make_node("DequantizeLinear", [f"p{k}", "u", "y"], [f"o{k}"]),
        ]
    tensors["u"] = np.float32(0.5)
    inputs = [helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, [1, 8, 2, 2]) for k in (0, 1)]
    outputs = [helper.make_tensor_value_info(f"o{k}", TensorProto.FLOAT, [1, 4, 2, 2]) for k in (0, 1)]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def computed(model: onnx.ModelProto, level: str) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = np.full((1, 8, 2, 2), 5.0, np.float32)
    outputs: list[Array] = session.run(None, {"x0": x, "x1": x})
    return outputs


@pytest.mark.parametrize("shared", [True, False])
def test_integer_kernels_compute_what_the_graph_says(shared: bool) -> None:
    made = model(shared)
    expected = computed(made, "ORT_DISABLE_ALL")
    separate_weights(made)
    onnx.checker.check_model(made, full_check=True)
    for found in (computed(made, "ORT_DISABLE_ALL"), computed(made, "ORT_ENABLE_ALL")):
        for a, b in zip(found, expected, strict=True):
            assert np.abs(a - b).max() <= 0.5  # one step
    assert expected[0].max() > 60  # the sums are large indeed


def test_no_int8_weight_and_no_zero_point_of_one_is_read_twice() -> None:
    for shared, kinds in ((True, {np.dtype(np.uint8)}), (False, {np.dtype(np.int8)})):
        made = model(shared)
        separate_weights(made)
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
        reads = [n for n in made.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in tensors]
        assert {tensors[n.input[k]].dtype for n in reads for k in (0, 2)} == kinds
        assert len({n.input[2] for n in reads}) == (1 if shared else 2)
        for n in reads:
            real = (tensors[n.input[0]].astype(int) - tensors[n.input[2]].astype(int)[:, None, None, None]) * SCALE
            assert abs(real).max() == pytest.approx(127 * SCALE)
