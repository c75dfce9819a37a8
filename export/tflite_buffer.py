"""Reading and editing a TFLite flatbuffer: its operators, and float inputs and outputs around an int8 model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeds.spec import Compute

CONVERTS = {"QUANTIZE", "DEQUANTIZE"}


def operators(content: bytes) -> Iterator[tuple[str, Compute]]:
    """Each operator of the first subgraph, by its name in the schema and what its first output is."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = {schema.TensorType.INT8: Compute.INT8, schema.TensorType.FLOAT32: Compute.FLOAT32}
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        kind = kinds.get(graph.tensors[operator.outputs[0]].type, Compute.OTHER)
        yield name, Compute.CONVERT if name in CONVERTS else kind


def with_float_io(content: bytes) -> bytes:
    """The same model with a QUANTIZE before each int8 input and a DEQUANTIZE behind each int8 output."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    before = [_convert(schema, model, index, "QUANTIZE") for index in graph.inputs]
    after = [_convert(schema, model, index, "DEQUANTIZE") for index in graph.outputs]
    graph.operators = [op for op, _ in before if op] + list(graph.operators) + [op for op, _ in after if op]
    sides = [(graph.inputs, before), (graph.outputs, after)]
    renamed = [dict(zip(old, [index for _, index in made], strict=True)) for old, made in sides]
    graph.inputs, graph.outputs = ([index for _, index in made] for _, made in sides)
    for signature in model.signatureDefs or []:
        for entries, names in zip((signature.inputs, signature.outputs), renamed, strict=True):
            for entry in entries:
                entry.tensorIndex = names[entry.tensorIndex]
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _convert(schema: Any, model: Any, index: int, kind: str) -> tuple[Any, int]:
    """An operator between tensor `index` and a new float one, and the new one's index; (None, index) where it is float already."""
    graph = model.subgraphs[0]
    quantized = graph.tensors[index]
    if quantized.type != schema.TensorType.INT8:
        return None, index
    tensor = schema.TensorT()
    tensor.shape, tensor.shapeSignature, tensor.buffer = quantized.shape, quantized.shapeSignature, 0
    tensor.type, tensor.name = schema.TensorType.FLOAT32, quantized.name
    quantized.name += b"_int8"
    graph.tensors.append(tensor)
    new = len(graph.tensors) - 1
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(schema, model, getattr(schema.BuiltinOperator, kind))
    operator.inputs, operator.outputs = ([new], [index]) if kind == "QUANTIZE" else ([index], [new])
    return operator, new


def _opcode(schema: Any, model: Any, code: int) -> int:
    for index, known in enumerate(model.operatorCodes):
        if max(known.builtinCode, known.deprecatedBuiltinCode) == code:
            return index
    added = schema.OperatorCodeT()
    added.builtinCode, added.deprecatedBuiltinCode, added.version = code, code, 1
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1
