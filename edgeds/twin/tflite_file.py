"""What stands in a `.tflite` file, as the twin needs it: tensors by index, with their constants and quantization, and operators."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgeds.errors import ModelError
from edgeds.spec import Array
from edgeds.twin.graph import Quantization, Value

TYPES = {"FLOAT32": np.float32, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name in the schema, its tensors (-1 where an optional input is left out), and where it stands for messages."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    place: str


class TfliteFile:
    """The one subgraph of a file."""

    def __init__(self, content: bytes, file: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._file = file
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        if len(self._model.subgraphs) != 1:
            raise ModelError(f"{file} has {len(self._model.subgraphs)} subgraphs; the twin models files with one")
        self._graph = self._model.subgraphs[0]

    def name(self, index: int) -> str:
        """A tensor's index and name, for names may repeat."""
        return f"{index} {_text(self._graph.tensors[index].name)}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Batch first."""
        return tuple(int(n) for n in self._graph.tensors[index].shape)

    def constant(self, index: int) -> Array | None:
        """A tensor's content where the file has it."""
        tensor = self._graph.tensors[index]
        content = self._model.buffers[tensor.buffer].data
        if content is None or len(content) == 0:
            return None
        by_code = {getattr(self._schema.TensorType, name): kind for name, kind in TYPES.items()}
        if tensor.type not in by_code:
            raise ModelError(
                f"the constant {self.name(index)} has type {tensor.type}, which is none of {', '.join(TYPES)}"
            )
        return np.frombuffer(bytes(content), by_code[tensor.type]).reshape(self.shape(index))

    def required(self, index: int) -> Array:
        """The content of a tensor that must be constant."""
        found = self.constant(index)
        if found is None:
            raise ModelError(f"its {self.name(index)} is computed, the twin needs a constant there")
        return found

    def weight_scales(self, index: int) -> Array:
        """float32, one or one a channel. ModelError where weights have zero points."""
        found = self._graph.tensors[index].quantization
        if found is None or found.scale is None or np.any(np.asarray(found.zeroPoint)):
            raise ModelError(f"its weights {self.name(index)} are not symmetric int8")
        return np.asarray(found.scale, np.float32)

    def quantization(self, index: int) -> Quantization:
        """Of an int8 tensor with one scale. ModelError for others."""
        found = self.value(index).quantization
        if found is None:
            raise ModelError(f"its {self.name(index)} is not int8 with one scale")
        return found

    def value(self, index: int) -> Value:
        """A tensor's description."""
        tensor = self._graph.tensors[index]
        found = tensor.quantization
        known = None
        if tensor.type == self._schema.TensorType.INT8 and found is not None and found.scale is not None:
            known = Quantization(float(found.scale[0]), int(found.zeroPoint[0])) if len(found.scale) == 1 else None
        return Value(self.name(index), self.shape(index), known)

    def values(self) -> dict[str, Value]:
        """All tensors, by name."""
        return {value.name: value for value in map(self.value, range(len(self._graph.tensors)))}

    def operators(self) -> list[Operator]:
        """In the order of execution."""
        names = {code: name for name, code in vars(self._schema.BuiltinOperator).items() if not name.startswith("_")}
        found = []
        for number, operator in enumerate(self._graph.operators):
            code = self._model.operatorCodes[operator.opcodeIndex]
            inputs, outputs = tuple(map(int, operator.inputs)), tuple(map(int, operator.outputs))
            place = f"operator {number} of {self._file} ({self.name(outputs[0])})"
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            found.append(Operator(name, inputs, outputs, operator.builtinOptions, place))
        return found

    def ordered(self, side: str) -> tuple[int, ...]:
        """The `inputs` or `outputs` in the order of the PyTorch model's, as edgeds.run.agent.in_order finds it."""
        own = tuple(int(k) for k in getattr(self._graph, side))
        signatures = self._model.signatureDefs or []
        if len(signatures) != 1:
            return own
        named = {_text(entry.name): int(entry.tensorIndex) for entry in getattr(signatures[0], side)}
        numbers = {name: [int(n) for n in re.findall(r"_(\d+)", name)] for name in named}
        if len(named) != len(own) or not all(numbers.values()):
            return own
        return tuple(named[name] for name in sorted(named, key=lambda name: numbers[name]))


@cache
def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""
