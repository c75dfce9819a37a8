"""What ONNX Runtime needs to see to use integer kernels: small rewrites of an ONNX model, in place, each keeping its values.

Each returns nothing and leaves unused tensors behind; `remove_unused` comes last.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from edgeds.spec import Array, Compute

if TYPE_CHECKING:
    import onnx


def strip_metadata(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes down: stack traces with paths of the machine that exported, class names, versions."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del graph.value_info[:]
    model.producer_name, model.producer_version = "edgeds", ""


def fold_pads(model: onnx.ModelProto) -> None:
    """Pad → Quantize → Dequantize → Conv with a zero pad becomes Conv with `pads`; the pad shares its input's scale, so the values stay."""
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    for conv in graph.node:
        if conv.op_type != "Conv":
            continue
        pad = _behind_quantization(producers, conv.input[0])
        pads = _spatial_pads(model, pad) if pad is not None and pad.op_type == "Pad" else None
        if pad is not None and pads is not None and _keeps_scale(model, producers, pad, conv):
            attribute = next((a for a in conv.attribute if a.name == "pads"), None) or conv.attribute.add(
                name="pads", type=7
            )
            old = list(attribute.ints) or [0] * len(pads)
            del attribute.ints[:]
            attribute.ints.extend(a + b for a, b in zip(old, pads, strict=True))
            conv.input[0] = pad.input[0]


def mean_to_global_average_pool(model: onnx.ModelProto) -> None:
    """A ReduceMean over all spatial axes that keeps them is a GlobalAveragePool, for which ORT has an integer kernel."""
    ranks = _ranks(model)
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4:
            continue
        axes = constant(model, node.input[1]) if len(node.input) > 1 else None
        keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        if axes is not None and keep == 1 and sorted(int(a) % 4 for a in axes) == [2, 3]:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def activations_to_uint8(model: onnx.ModelProto) -> None:
    """int8 activations become uint8 ones with the zero point moved by 128: the same real values."""
    from onnx import numpy_helper

    moved: dict[str, Array] = {}
    for node in model.graph.node:
        activation = node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and constant(model, node.input[0]) is None
        )
        zero_point = constant(model, node.input[2]) if activation else None
        if zero_point is not None and zero_point.dtype == np.int8:
            name = f"{node.input[2]}_uint8"
            moved[name] = (zero_point.astype(np.int16) + 128).astype(np.uint8)
            node.input[2] = name
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in moved.items())


def own_constants(model: onnx.ModelProto) -> None:
    """Each reader of a dequantized constant gets a DequantizeLinear, a constant and a zero point to itself.

    On x86 without VNNI, ORT's products of uint8 and int8 saturate at 16 bits. Its remedy, `session.x64quantprecision`, replaces weights
    and zero points one by one and fails ("attempt to replace the existing tensor") on one that two operators share.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    returned = {value.name for value in model.graph.output}
    constants = [n for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in tensors]
    dequantize = {n.output[0]: n for n in constants if n.output[0] not in returned}
    names = _Names(tensors.keys() | {name for node in nodes for name in (*node.input, *node.output)})
    del model.graph.node[:]
    for node in nodes:
        if any(output in dequantize for output in node.output):
            continue
        for k, name in enumerate(node.input):
            if name in dequantize:
                own = model.graph.node.add()
                own.CopyFrom(dequantize[name])
                own.name = own.output[0] = node.input[k] = names.own(name)
                _own_tensors(model, own, tensors, names)
        model.graph.node.add().CopyFrom(node)


class _Names:
    """Names for what is copied: the one that is there for whoever asks first, then with the next number that no other value has."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._asked: Counter[str] = Counter()

    def own(self, name: str) -> str:
        self._asked[name] += 1
        if self._asked[name] == 1:
            return name
        while (own := f"{name}_{self._asked[name]}") in self._known:
            self._asked[name] += 1
        self._known.add(own)
        return own


def _own_tensors(
    model: onnx.ModelProto, node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto], names: _Names
) -> None:
    """Copies of a DequantizeLinear's constant and zero point, where another node has them already."""
    for k, name in enumerate(node.input):
        if k != 1 and name in tensors and (own := names.own(name)) != name:
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(tensors[name])
            tensor.name = node.input[k] = own


def remove_unused(model: onnx.ModelProto) -> None:
    """Removes nodes and tensors that no output needs."""
    graph = model.graph
    while True:
        used = Counter(name for node in graph.node for name in node.input) + Counter(o.name for o in graph.output)
        dead = [node for node in graph.node if not any(used[output] for output in node.output)]
        for node in dead:
            graph.node.remove(node)
        if not dead:
            break
    kept = [tensor for tensor in graph.initializer if used[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def constant(model: onnx.ModelProto, name: str) -> Array | None:
    """The value of a tensor that is an initializer or a Constant node's output, else None."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            return numpy_helper.to_array(node.attribute[0].t)
    return None


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    return {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input, *graph.output)
    }


def known_types(model: onnx.ModelProto) -> dict[str, Compute]:
    """What the model's inputs and initializers are: int8, float32 or other."""
    from onnx import TensorProto

    kinds = {TensorProto.FLOAT: Compute.FLOAT32, TensorProto.INT8: Compute.INT8, TensorProto.UINT8: Compute.INT8}
    inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    initializers = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {name: kinds.get(kind, Compute.OTHER) for name, kind in (inputs | initializers).items()}


def _behind_quantization(producers: dict[str, onnx.NodeProto], name: str) -> onnx.NodeProto | None:
    for op_type in ("DequantizeLinear", "QuantizeLinear"):
        node = producers.get(name)
        if node is None or node.op_type != op_type:
            return None
        name = node.input[0]
    return producers.get(name)


def _keeps_scale(
    model: onnx.ModelProto, producers: dict[str, onnx.NodeProto], pad: onnx.NodeProto, conv: onnx.NodeProto
) -> bool:
    """Whether the pad reads what was quantized with the very scale and zero point that its own output gets."""
    before, after = producers.get(pad.input[0]), producers[conv.input[0]]
    if before is None or before.op_type != "DequantizeLinear":
        return False
    pairs = [(constant(model, before.input[k]), constant(model, after.input[k])) for k in (1, 2)]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def _spatial_pads(model: onnx.ModelProto, pad: onnx.NodeProto) -> list[int] | None:
    """The pads in Conv's order (starts, then ends), None where the pad is not a zero pad of the two spatial axes."""
    amounts = constant(model, pad.input[1])
    value = constant(model, pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    if (
        amounts is None
        or len(amounts) != 8
        or value is None
        or value.any()
        or mode != b"constant"
        or (amounts < 0).any()
    ):
        return None
    begin, end = amounts[:4].tolist(), amounts[4:].tolist()
    return [*begin[2:], *end[2:]] if not any(begin[:2] + end[:2]) else None
