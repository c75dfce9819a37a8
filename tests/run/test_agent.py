from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.run import host
from edgeds.spec import Array

Ask = Callable[..., dict[str, Any]]


def test_the_agent_stands_alone_and_parses_as_python_3_9() -> None:
    tree = ast.parse(host.AGENT.read_text("utf-8"), feature_version=(3, 9))
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imports if name.startswith("edgeds")]


@pytest.mark.parametrize("output_layout", ["nhwc", "nchw", None])
def test_outputs_are_turned_to_channels_first_only_if_the_request_says_that_they_are_not(
    ask: Ask, tflite_file: Path, inputs: tuple[Array, Array], output_layout: str | None
) -> None:
    answer = ask(tflite_file, inputs, output_layout=output_layout)
    expected = inputs[0] - inputs[1] if output_layout == "nhwc" else np.moveaxis(inputs[0] - inputs[1], 1, -1)
    np.testing.assert_array_equal(np.load(answer["outputs"][0]), expected)


def test_twelve_tflite_inputs_keep_their_order(ask: Ask, many_inputs_file: Path) -> None:
    inputs = [np.full((1, 1), 2.0**k, np.float32) for k in range(12)]
    answer = ask(many_inputs_file, inputs)
    assert [np.load(path).item() for path in answer["outputs"]] == [1 - sum(2.0**k for k in range(1, 12)), 2.0**10]


def test_marks_for_an_emulator_change_no_answer_and_the_marked_batch_has_no_time(
    ask: Ask, tflite_file: Path, inputs: tuple[Array, Array]
) -> None:
    plain = ask(tflite_file, inputs, output_layout="nhwc")
    expected = np.load(plain["outputs"][0])
    marked = ask(tflite_file, inputs, output_layout="nhwc", mark=True)
    np.testing.assert_array_equal(np.load(marked["outputs"][0]), expected)
    assert (len(plain["wall_ms"]), len(marked["wall_ms"])) == (5, 4)


def test_what_a_runtime_prints_to_stdout_does_not_spoil_the_answer(ask: Ask, onnx_file: Path, tmp_path: Path) -> None:
    chatter = "import os\nprint('python talks')\nos.write(1, b'C++ talks')\nraise RuntimeError('of two\\nlines')"
    (tmp_path / "onnxruntime.py").write_text(chatter)
    answer = ask(onnx_file, [], runtime="onnxruntime", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert answer == {"error": "RuntimeError: of two lines"}


@pytest.mark.parametrize(("given", "found"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnx_runtime_is_told_to_send_no_usage_data_unless_the_user_says_otherwise(
    ask: Ask, onnx_file: Path, tmp_path: Path, given: dict[str, str], found: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os\nraise RuntimeError(os.environ['ORT_DISABLE_TELEMETRY'])")
    own = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    answer = ask(onnx_file, [], runtime="onnxruntime", env={**own, "PYTHONPATH": str(tmp_path), **given})
    assert answer == {"error": f"RuntimeError: {found}"}


def test_onnx_runtime_adds_large_products_without_saturation(ask: Ask, tmp_path: Path) -> None:
    """Two of 255 · 127 do not fit 16 bits, in which x86 without VNNI adds pairs of products by default."""
    from onnx import TensorProto, helper, numpy_helper, save

    tensors = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": np.full((1, 4, 1, 1), 127, np.int8),
        "w_zero": np.int8(0),
    }
    tensors["thousand"] = np.float32(1000)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "one", "zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "w_zero"], ["w_d"]),
        helper.make_node("Conv", ["x_d", "w_d"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "thousand", "zero"], ["c_q"]),
        helper.make_node("DequantizeLinear", ["c_q", "thousand", "zero"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 1, 1]) for n, c in (("x", 4), ("y", 1)))
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "large", [x], [y], initializers)
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "large.onnx")
    answer = ask(
        tmp_path / "large.onnx", [np.full((1, 4, 1, 1), 255, np.float32)], runtime="onnxruntime", layout="nchw"
    )
    assert np.load(answer["outputs"][0]).item() == 130_000  # 4 · 255 · 127 = 129,540; with saturation 66,000


X = np.zeros((2, 2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("inputs", "changes", "error"),
    [
        (
            [X, X],
            {"runtime": "tensorrt"},
            "unknown runtime 'tensorrt'; choose from executorch, onnxruntime, litert, tflite-runtime",
        ),
        ([X, X], {"layout": "chwn"}, "unknown layout 'chwn'; choose from nchw, nhwc"),
        ([X, X], {"output_layout": "nwhc"}, "unknown output layout 'nwhc'; choose from nchw, nhwc"),
        ([X, X], {"artifact": "no/such.tflite"}, "no such file 'no/such.tflite'"),
        ([X, X], {"profile": "p"}, "litert writes no profile; leave it out, or choose onnxruntime"),
        ([X, X], {"repeats": 0}, "repeats 0 and threads 1 must be at least 1"),
        ([X, X], {"threads": None, "repeats": None}, "the request lacks threads, repeats"),
        ([X], {}, "the artifact takes 2 inputs, not 1"),
        ([X, X[:1]], {}, "input 1 has 1 samples and input 0 has 2; give as many of each"),
        ([X[:0], X[:0]], {}, "there is no sample to run; give at least one"),
        ([X, X.astype(np.float64)], {}, "input 1 is float64; give float32"),
        ([X, X], {"layout": "nchw"}, "input 0 has shape [1, 2, 3, 4], the artifact takes [1, 3, 4, 2] (nchw)"),
        ([X[0], X[0]], {}, "input 0 has shape [1, 3, 4], the artifact takes [1, 3, 4, 2] (nhwc)"),
    ],
)
def test_the_agent_refuses_in_one_line(
    ask: Ask, tflite_file: Path, inputs: list[Array], changes: dict[str, Any], error: str
) -> None:
    assert ask(tflite_file, inputs, **changes) == {"error": error}
