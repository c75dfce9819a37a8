"""What stands in a `.pte` file, as the twin needs it: the values of its one XNNPACK delegate by id, with constants and quantization, and nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeds.errors import ModelError
from edgeds.export import xnnpack_graph
from edgeds.spec import Array
from edgeds.twin.graph import Quantization, Value

TYPES = {
    "xnn_datatype_fp32": np.float32,
    "xnn_datatype_qint8": np.int8,
    "xnn_datatype_qcint8": np.int8,
    "xnn_datatype_qint32": np.int32,
    "xnn_datatype_qcint32": np.int32,
}
INVALID_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: its name and fields in executorch's schema.fbs, its data inputs, its output, and its least and largest output."""

    code: str
    inputs: tuple[int, ...]
    output: int
    fields: dict[str, Any]
    limits: tuple[float, float] | None
    place: str


class PteFile:
    """A program that is one delegate and nothing else. ModelError names what stands outside."""

    def __init__(self, path: Path) -> None:
        plan, delegates = xnnpack_graph.read(path)
        call = _only_call(plan, path.name)
        self._constants = delegates[0].constants
        self._fields: dict[int, dict[str, Any]] = {}
        self._quantizations: dict[int, tuple[str, dict[str, Any]]] = {}
        for value in delegates[0].graph["xvalues"]:
            union = value["xvalue_union"]
            fields = union.get("tensor_value", union)
            self._fields[fields["id_out"]] = fields
            if "tensor_value" in union:
                self._quantizations[fields["id_out"]] = (union["quant_params_type"], union["quant_params"])
        places = {
            call[fields["external_id"]]: k for k, fields in self._fields.items() if fields["external_id"] != INVALID_ID
        }
        self.inputs = tuple(self.name(places[argument]) for argument in plan.inputs)
        self.outputs = tuple(self.name(places[argument]) for argument in plan.outputs)
        nodes = delegates[0].graph["xnodes"]
        self.nodes = tuple(_node(k, node, path.name) for k, node in enumerate(nodes))

    def name(self, index: int) -> str:
        """A value's."""
        return str(index)

    def value(self, index: int) -> Value:
        """A value's description."""
        fields = self._fields[index]
        kind, parameters = self._quantizations.get(index, ("", {}))
        known = None
        if fields["datatype"] == "xnn_datatype_qint8" and kind == "PerTensorQuant":
            known = Quantization(parameters["scale"], parameters["zero_point"])
        return Value(self.name(index), tuple(fields["dims"]), known)

    def values(self) -> dict[str, Value]:
        """All values, by name."""
        return {self.name(index): self.value(index) for index in self._fields}

    def quantization(self, index: int) -> Quantization:
        """Of an int8 value with one scale. ModelError for others."""
        found = self.value(index).quantization
        if found is None:
            raise ModelError(f"its value {index} is {self._fields[index]['datatype']}, not int8 with one scale")
        return found

    def weight_scales(self, index: int) -> Array:
        """float32, one or one a channel. ModelError where weights have zero points."""
        kind, parameters = self._quantizations.get(index, ("", {}))
        if kind == "PerTensorQuant" and parameters["zero_point"] == 0:
            return np.array([parameters["scale"]], np.float32)
        if kind != "PerChannelQuant":
            raise ModelError(f"its weights {index} are not symmetric int8")
        if parameters["scale"]:
            return np.array(parameters["scale"], np.float32)
        return np.frombuffer(self._constants[parameters["scale_buffer_idx"]], np.float32)[: parameters["num_scales"]]

    def constant(self, index: int) -> Array | None:
        """A value's content where the file has it; None for an input that is left out, too."""
        if index == INVALID_ID or self._fields[index]["constant_buffer_idx"] == 0:
            return None
        fields = self._fields[index]
        if fields["datatype"] not in TYPES:
            raise ModelError(f"its constant {index} is {fields['datatype']}, which is none of {', '.join(TYPES)}")
        content = self._constants[fields["constant_buffer_idx"]]
        return np.frombuffer(content, TYPES[fields["datatype"]])[: int(np.prod(fields["dims"]))].reshape(fields["dims"])

    def required(self, index: int) -> Array:
        """The content of a value that must be constant."""
        found = self.constant(index)
        if found is None:
            raise ModelError(f"its value {index} is computed, the twin needs a constant there")
        return found


def _only_call(plan: Any, file: str) -> list[int]:
    """The arguments of the one delegate's call: values of the plan, by the delegate's external ids."""
    from executorch.exir.schema import DelegateCall, KernelCall

    calls = [step.instr_args for chain in plan.chains for step in chain.instructions]
    outside = [plan.operators[call.op_index].name for call in calls if isinstance(call, KernelCall)]
    if outside or len(plan.delegates) != 1:
        what = f"runs {', '.join(sorted(set(outside)))} outside of them" if outside else "the twin models one"
        raise ModelError(
            f"{file} has {len(plan.delegates)} delegates and {what}; a twin needs one delegate and nothing else"
        )
    (call,) = (call for call in calls if isinstance(call, DelegateCall))
    return list(call.args)


def _node(number: int, node: dict[str, Any], file: str) -> Node:
    fields = node["xnode_union"]
    inputs = tuple(
        fields[name]
        for name in ("input_id", *(f"input{k}_id" for k in range(1, 6)))
        if fields.get(name, INVALID_ID) != INVALID_ID
    )
    inputs = inputs[: _arity(node["xnode_union_type"], len(inputs))]
    limits = node["output_min_max"]
    code = node["xnode_union_type"].removeprefix("XNN")
    place = f"node {number} of {file} (value {fields['output_id']})"
    return Node(
        code,
        inputs,
        fields["output_id"],
        fields,
        None if limits is None else (limits["output_min"], limits["output_max"]),
        place,
    )


def _arity(kind: str, found: int) -> int:
    """Concatenations say by their name how many inputs they have; what they leave out is 0."""
    return int(kind[-1]) if kind.startswith("XNNConcatenate") else found
