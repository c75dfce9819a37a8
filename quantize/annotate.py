"""Where quantize and dequantize go: the one PT2E quantizer whose graph all three formats are lowered from.

PyTorch's XNNPACKQuantizer puts a quantize between a convolution and its ReLU6, which wastes range and rounds twice
(EfficientNet-Lite0 with real weights: 5 dB against 18 dB), and it leaves out operators that all three runtimes have in
integers. Here a clamp belongs to what produces it, and operators that only move values share their input's scale.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx
from torch.fx import Node
from torchao.quantization.pt2e import HistogramObserver, MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from edgeds.program import tensor_of
from edgeds.quantize.canonical.edit import is_spatial_mean
from edgeds.quantize.layer_names import kept_in_float
from edgeds.quantize.operators import ACTIVATIONS, CLAMPS, ELEMENTWISE, JOINS, MOVES, PADS, WEIGHTED
from edgeds.recipe import Recipe

aten = torch.ops.aten

# Such a constant means "never" (a mask before a softmax: -1e4, -1e9, infinity). A range with it would leave one step for all else.
TOO_LARGE = 1e4
# A smaller scale than this has no use on a device: the eps of PyTorch's own XNNPACK configuration.
EPS = 2**-12


def _fixed(scale: float, zero_point: int) -> FixedQParamsQuantizationSpec:
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=scale,
        zero_point=zero_point,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


# What lies in 0..1 or -1..1 whatever the data has the scale that LiteRT demands. tanh's lets ONNX Runtime compute it as a sigmoid.
FIXED_OUTPUTS = {aten.sigmoid.default: _fixed(1 / 256, -128), aten.tanh.default: _fixed(1 / 128, 0)}


def activation_spec(recipe: Recipe) -> QuantizationSpec:
    """Per-tensor affine int8, its range from the recipe's observer."""
    observer = {"histogram": HistogramObserver, "minmax": MinMaxObserver}[recipe.observer]
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=observer.with_args(eps=EPS),
    )


def weight_spec() -> QuantizationSpec:
    """Per-channel symmetric int8 in -127..127: XNNPACK's and TFLite's contract."""
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=EPS),
    )


class SeparableConvQuantizer(Quantizer):  # type: ignore[misc]  # torchao is untyped
    """Static int8 for separable-convolution graphs, one annotation rule an operator family."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._activation = activation_spec(recipe)
        self._weight = weight_spec()
        self._kept_float = recipe.kept_float
        self._too_large: set[Node] = set()

    def transform_for_annotation(self, model: fx.GraphModule) -> fx.GraphModule:
        """Nothing to transform: canonicalization has been here before."""
        return model

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Annotates every node in the order of the graph, so that a producer's annotation stands before its consumers'."""
        self._too_large = {n for n in model.graph.nodes if n.op == "get_attr" and _is_too_large(tensor_of(model, n))}
        kept = kept_in_float(model.graph, self._kept_float)
        for node in model.graph.nodes:
            if node.op == "call_function" and Q_ANNOTATION_KEY not in node.meta and node not in kept:
                self._annotate_node(node)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to refuse: what has no rule stays in float and the operator report names it."""

    def _annotate_node(self, node: Node) -> None:
        if not _is_float(node) or not _computes_on_activations(node):
            return
        if node.target in WEIGHTED:
            self._weighted(node)
        elif node.target in ELEMENTWISE:
            self._elementwise(node)
        elif is_spatial_mean(node):
            self._average(node)
        elif node.target in FIXED_OUTPUTS:
            _set(node, {_input(node): self._activation_of(_input(node))}, FIXED_OUTPUTS[node.target])
        elif node.target in ACTIVATIONS:
            _set(node, {_input(node): self._activation_of(_input(node))}, self._activation)
        elif node.target is aten.cat.default or (node.target in JOINS and not self._too_large & set(_values(node))):
            self._join(node)
        elif node.target in MOVES | CLAMPS and _is_quantized(_input(node)):
            self._move(node)

    def _activation_of(self, source: Node) -> Any:
        """The spec for reading `source`: its own where that is fixed, so that no requantization appears between the two."""
        root = source
        while root.target in MOVES | CLAMPS and Q_ANNOTATION_KEY in root.meta:
            root = _input(root)
        return (
            SharedQuantizationSpec(source) if root.target in FIXED_OUTPUTS and _is_quantized(root) else self._activation
        )

    def _weighted(self, node: Node) -> None:
        _set_output(
            node, {_input(node): self._activation_of(_input(node)), node.args[1]: self._weight}, self._activation
        )

    def _elementwise(self, node: Node) -> None:
        _set_output(node, {source: self._activation_of(source) for source in node.all_input_nodes}, self._activation)

    def _average(self, node: Node) -> None:
        _set_output(node, {_input(node): self._activation_of(_input(node))}, self._activation)

    def _move(self, node: Node) -> None:
        source = _input(node)
        if source.op == "placeholder":
            _set(node, {source: self._activation}, SharedQuantizationSpec((source, node)))
        else:
            _set(node, {source: SharedQuantizationSpec(source)}, SharedQuantizationSpec(source))

    def _join(self, node: Node) -> None:
        first, *rest = _values(node)
        shared = SharedQuantizationSpec((first, node))
        _set(node, {first: self._activation, **dict.fromkeys(rest, shared)}, shared)


def _input(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _values(node: Node) -> list[Node]:
    """The inputs whose elements a join takes: all, but for the mask of a where."""
    values = node.args[1:] if node.target is aten.where.self else node.all_input_nodes
    return list(dict.fromkeys(value for value in values if isinstance(value, Node)))


def _is_too_large(value: torch.Tensor) -> bool:
    return value.is_floating_point() and bool((~value.isfinite() | (value.abs() >= TOO_LARGE)).any())


def _is_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _computes_on_activations(node: Node) -> bool:
    """Whether a node's operands are what its rule takes them for; else (scalars, constants, computed weights) it stays in float."""
    if node.target in WEIGHTED:
        return _input(node).op != "get_attr" and isinstance(node.args[1], Node) and node.args[1].op == "get_attr"
    if node.target in ELEMENTWISE and (not isinstance(node.args[1], Node) or node.kwargs.get("alpha", 1) != 1):
        return False
    if node.target in PADS and not _pads_finite(node):
        return False
    if node.target in FIXED_OUTPUTS and _reaches_join(node):
        return False
    inputs = _values(node) if node.target in JOINS else node.all_input_nodes
    takes_constants = node.target in JOINS | ELEMENTWISE
    if node.target is aten.layer_norm.default:  # its weight and bias stay as they are
        inputs = [_input(node)]
    return all(map(_is_float, inputs)) and (takes_constants or all(x.op != "get_attr" for x in inputs))


def _pads_finite(node: Node) -> bool:
    """Whether what a pad adds has a place in an int8 range. The range that input and output share includes it then."""
    defaults: tuple[Any, ...] = ("constant", 0) if node.target is aten.pad.default else (0,)
    given = node.args[2:]
    mode, value = ("constant", *given, *defaults[len(given) :])[-2:]
    return not node.kwargs and (mode != "constant" or math.isfinite(value or 0))


def _reaches_join(node: Node) -> bool:
    """Whether a node's value is joined with others: TFLite demands one scale there, and another, fixed one of a sigmoid."""
    return any(
        (user.target in JOINS and node in _values(user)) or (user.target in MOVES | CLAMPS and _reaches_join(user))
        for user in node.users
    )


def _is_quantized(node: Node) -> bool:
    annotation = node.meta.get(Q_ANNOTATION_KEY)
    return node.op == "placeholder" or (annotation is not None and annotation.output_qspec is not None)


def _set(node: Node, inputs: dict[Any, Any], output: Any) -> None:
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def _set_output(node: Node, inputs: dict[Any, Any], output: Any) -> None:
    """Annotates a node together with the clamp that alone consumes it, if there is one: the output is quantized after the clamp."""
    clamp = next(iter(node.users)) if len(node.users) == 1 else None
    if clamp is None or clamp.target not in CLAMPS:
        _set(node, inputs, output)
        return
    _set(node, inputs, None)
    _set(clamp, {}, output)
