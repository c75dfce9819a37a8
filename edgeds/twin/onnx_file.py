"""An `.onnx` file as ONNX Runtime executes it: the graph after the runtime's own fusions, which the runtime writes out itself.

`ORT_ENABLE_EXTENDED` has every fusion that changes arithmetic (quantize, dequantize and what lies between become one QLinear operator);
the level above only lays tensors out for the machine.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeds.errors import ModelError, ToolError
from edgeds.spec import Array
from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    import onnx

INTEGERS = {"int8", "uint8"}


@dataclass(frozen=True, slots=True)
class Operator:
    """One node: its operator, the names of its inputs (empty where an optional one is left out) and outputs, and its attributes."""

    code: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, Any]
    place: str


class OnnxFile:
    """The fused graph, with the shapes of its values."""

    def __init__(self, path: Path) -> None:
        import onnx
        from onnx import numpy_helper

        # fusions keep the names of values, whose shapes ONNX can infer only before
        original = onnx.shape_inference.infer_shapes(onnx.load(path))
        fused = _fused(path)
        self._file = path.name
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in fused.graph.initializer}
        described = (*original.graph.input, *original.graph.value_info, *original.graph.output)
        self._shapes = {value.name: _shape(value) for value in described}
        self.inputs = tuple(value.name for value in fused.graph.input)
        self.outputs = tuple(value.name for value in fused.graph.output)
        self.operators = tuple(self._operator(number, node) for number, node in enumerate(fused.graph.node))

    def constant(self, name: str) -> Array | None:
        """An initializer."""
        return self._constants.get(name)

    def required(self, name: str) -> Array:
        """The content of a value that must be constant."""
        if name not in self._constants:
            raise ModelError(f"its {name!r} is computed, the twin needs a constant there")
        return self._constants[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Batch first. ModelError where it is not known."""
        if name not in self._shapes:
            raise ModelError(f"nothing says which shape {name!r} has")
        return self._shapes[name]

    def known_shape(self, name: str) -> tuple[int, ...]:
        """The same, empty where it is not known."""
        return self._shapes.get(name, ())

    def quantization(self, scale: str, zero_point: str) -> Quantization:
        """Of a value, by the names of its scale and zero point. ModelError where there are several."""
        scales, zero_points = self.required(scale), self.required(zero_point)
        if scales.size != 1 or str(zero_points.dtype) not in INTEGERS:
            raise ModelError(
                f"its scale {scale!r} has {scales.size} numbers for {zero_points.dtype}; the twin models 8 bits with one"
            )
        return Quantization(float(scales.reshape(-1)[0]), int(zero_points.reshape(-1)[0]), str(zero_points.dtype))

    def centred(self, weights: str, zero_points: str) -> Array:
        """int16 weights without their zero point, which the runtime adds to make uint8 of int8."""
        integers, offsets = self.required(weights), self.required(zero_points).reshape(-1)
        if np.any(offsets != offsets[0]):
            raise ModelError(f"its weights {weights!r} have several zero points")
        centred: Array = integers.astype(np.int16) - np.int16(offsets[0])
        return centred

    def _operator(self, number: int, node: onnx.NodeProto) -> Operator:
        from onnx import helper

        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        place = f"node {number} of {self._file} ({node.name or node.output[0]})"
        return Operator(node.op_type, tuple(node.input), tuple(node.output), options, place)


def _fused(path: Path) -> onnx.ModelProto:
    """What ONNX Runtime makes of the file, with the option that edgeds.run.agent sets."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="edgeds-twin-") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder) / "fused.onnx")
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ToolError(f"onnxruntime refuses {path.name}: {' '.join(str(error).split())}") from error
        return onnx.load(options.optimized_model_filepath)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
