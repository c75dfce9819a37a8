"""What a model costs, layer by layer: Program → parameters and multiply-accumulates (MACs), and what separability saves.

A separable convolution is two: a depthwise one of kernel size k (a filter of its own for each of the M channels) and a
pointwise one (kernel size 1, M → N). On an output of H by W they cost k²·M·H·W + M·N·H·W MACs. They replace ONE ordinary
convolution of kernel size k, M → N, with k²·M·N·H·W MACs, so they cost 1/N + 1/k² of it (MobileNetV1, arXiv:1704.04861,
section 3.1, below eq. 5).

Counted are the multiply-accumulates of convolutions, linear layers, matrix products and attention. Biases, batch-norms,
activations, pooling, additions and the multiplication at the end of squeeze-and-excite are not: the papers that these
numbers are compared with leave them out as well. (The two small convolutions inside squeeze-and-excite are counted.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from edgeds.models.capture import capture
from edgeds.spec import Model, Node, Program

Shape = tuple[int, ...]


class LayerKind(StrEnum):
    """What a layer is. The order is the one of reports."""

    DEPTHWISE = "depthwise"  # a convolution with a group for each input channel, whatever its depth multiplier
    POINTWISE = "pointwise"  # a convolution of kernel size 1 without groups
    ORDINARY = "ordinary"  # any other convolution without groups
    GROUPED = "grouped"
    TRANSPOSED = "transposed"
    LINEAR = "linear"
    MATMUL = "matmul"
    BATCH_NORM = "batch norm"  # parameters only
    OTHER = "other"  # whatever else has parameters: layer norm, PReLU, embeddings…; no MACs are counted


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `name` is its module's path (the graph's name for it where it belongs to no module).

    `kernel` is empty for what is no convolution. `parameters` are weights and biases; those that several layers share count at the
    first one. `dense_macs` is what it would cost in a network of ordinary convolutions: at a pointwise convolution behind
    a depthwise one, that of the ordinary convolution that would do the work of both; at that depthwise one, 0; at a depthwise one
    without such a partner, that of an ordinary convolution; anywhere else, `macs`.
    """

    name: str
    kind: LayerKind
    kernel: Shape
    output_shape: Shape
    parameters: int
    macs: int
    dense_macs: int


@dataclass(frozen=True, slots=True)
class Complexity:
    """What a model costs for the input shapes given: layers in the order of the graph.

    `uncounted` names the operators whose MACs are not in the sums (recurrent layers, einsum): the model costs more.
    """

    input_shapes: tuple[Shape, ...]
    layers: tuple[Layer, ...]
    uncounted: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """All parameters that the forward uses."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the same network with ordinary convolutions."""
        return sum(layer.dense_macs for layer in self.layers)

    @property
    def factor(self) -> float:
        """How many times as many MACs the network with ordinary convolutions needs; 1 where nothing is separable."""
        return self.dense_macs / self.macs if self.macs else 1.0

    def of_kind(self, kind: LayerKind) -> Sum:
        """All layers of one kind together."""
        layers = [layer for layer in self.layers if layer.kind is kind]
        parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
        return Sum(len(layers), parameters, macs, _share(parameters, self.parameters), _share(macs, self.macs))


@dataclass(frozen=True, slots=True)
class Sum:
    """Several layers together: how many, their parameters and MACs, and both as shares (0..1) of the whole model's."""

    layers: int
    parameters: int
    macs: int
    parameter_share: float
    mac_share: float


def model_complexity(model: Model) -> Complexity:
    """The complexity of a model at its input shapes. Raises ModelError where the model cannot be captured."""
    return complexity(capture(model), buffers=[name for name, _ in model.module.named_buffers()])


def complexity(program: Program, *, buffers: Collection[str] = ()) -> Complexity:
    """The complexity of a float program, as `capture` makes it.

    A program does not say which of its tensors are parameters: floats that the graph uses are taken for some, but not a
    batch-norm's statistics, constants in the code, and the tensors named in `buffers`.
    """
    graph = _Graph(program, frozenset(buffers))
    layers = [layer for node in program.nodes if node.op == "call_function" and (layer := graph.layer(node))]
    uncounted = sorted({name for node in program.nodes if (name := _operator(node)) in _UNCOUNTED})
    return Complexity(program.input_shapes, tuple(layers), tuple(uncounted))


_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution"}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_PRODUCTS = {"mm": 0, "bmm": 0, "matmul": 0, "mv": 0, "addmm": 1, "baddbmm": 1}  # where the first factor stands
_ATTENTION = "scaled_dot_product_attention"
_NORMS = {"batch_norm", "instance_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"}
_UNCOUNTED = {"lstm", "gru", "rnn_tanh", "rnn_relu", "einsum", "bilinear", "multi_head_attention_forward"}
_POOLING = {"mean", "sum", "amax", "max", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"}
_CONSTANTS = (
    "lifted_tensor_",
    "_tensor_constant",
    "_lifted_tensor_constant",
)  # torch.export's names for tensors in the code
_MULTIPLYING = _CONVOLUTIONS | _TRANSPOSED | set(_PRODUCTS) | {"linear", _ATTENTION} | _UNCOUNTED


@dataclass(slots=True)
class _Graph:
    """A program with what is looked up again and again."""

    program: Program
    buffers: frozenset[str]
    nodes: dict[str, Node] = field(init=False)
    users: dict[str, list[Node]] = field(init=False)
    counted: set[str] = field(init=False, default_factory=set)
    replaced: dict[str, list[Node]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.program.nodes}
        self.users = {name: [] for name in self.nodes}
        for node in self.program.nodes:
            for name in dict.fromkeys(_references((node.args, node.kwargs))):
                self.users[name].append(node)
        for node in self.program.nodes:
            if self._is_depthwise(node):
                for pointwise in self._next_pointwise(node):
                    self.replaced.setdefault(pointwise.name, []).append(node)

    def layer(self, node: Node) -> Layer | None:
        """The layer that a node is; None for one without parameters and MACs."""
        kind = self._kind(node)
        macs, parameters = self._macs(node), self._parameters(node, kind)
        if kind is LayerKind.OTHER and not parameters:
            return None
        dense = self._dense_macs(node, macs)
        return Layer(node.module or node.name, kind, self._kernel(node), node.shape, parameters, macs, dense)

    def _kind(self, node: Node) -> LayerKind:
        operator = _operator(node)
        if operator in _TRANSPOSED or (operator == "convolution" and node.args[6]):
            return LayerKind.TRANSPOSED
        if operator in _CONVOLUTIONS:
            return self._convolution_kind(node)
        if operator in _NORMS:
            return LayerKind.BATCH_NORM
        if operator == "linear":
            return LayerKind.LINEAR
        return LayerKind.MATMUL if operator in _PRODUCTS or operator == _ATTENTION else LayerKind.OTHER

    def _convolution_kind(self, node: Node) -> LayerKind:
        _, group_inputs, *kernel = self._shape(node, 1)
        groups = self._input_channels(node) // group_inputs
        if groups > 1:
            return LayerKind.DEPTHWISE if group_inputs == 1 else LayerKind.GROUPED
        return LayerKind.POINTWISE if math.prod(kernel) == 1 else LayerKind.ORDINARY

    def _input_channels(self, node: Node) -> int:
        return self._shape(node, 0)[-(len(self._kernel(node)) + 1)]  # a convolution's input may lack a batch axis

    def _kernel(self, node: Node) -> Shape:
        return self._shape(node, 1)[2:] if _operator(node) in _CONVOLUTIONS | _TRANSPOSED else ()

    def _macs(self, node: Node) -> int:
        operator, kind = _operator(node), self._kind(node)
        if kind is LayerKind.TRANSPOSED:  # every input element meets the weights of its group's outputs
            return math.prod(self._shape(node, 0)) * math.prod(self._shape(node, 1)[1:])
        if operator in _CONVOLUTIONS or operator == "linear":
            return math.prod(node.shape) * math.prod(self._shape(node, 1)[1:])
        if operator in _PRODUCTS:
            return math.prod(node.shape) * self._shape(node, _PRODUCTS[operator])[-1]
        if operator == _ATTENTION:  # query · key, then weights · value
            (*queries, width), keys, values = (self._shape(node, k) for k in range(3))
            return math.prod(queries) * keys[-2] * (width + values[-1])
        return 0

    def _dense_macs(self, node: Node, macs: int) -> int:
        if depthwise := self.replaced.get(node.name):
            weights = sum(self._input_channels(part) * math.prod(self._kernel(part)) for part in depthwise)
            return math.prod(node.shape) * weights
        if not self._is_depthwise(node):
            return macs
        return 0 if self._has_partner(node) else macs * self._input_channels(node)

    def _has_partner(self, depthwise: Node) -> bool:
        return any(depthwise in parts for parts in self.replaced.values())

    def _is_depthwise(self, node: Node) -> bool:
        return _operator(node) in _CONVOLUTIONS and self._kind(node) is LayerKind.DEPTHWISE

    def _next_pointwise(self, depthwise: Node) -> list[Node]:
        """The pointwise convolutions that a depthwise one's output reaches first, through what changes neither shape nor place:
        batch-norm, activations, the multiplication of squeeze-and-excite, additions. Not through pooling: that leads into
        squeeze-and-excite. And no further than the nearest, as a residual branch reaches those of all later blocks."""
        reached, seen = [depthwise], {depthwise.name}
        while reached:
            users = {user.name: user for node in reached for user in self.users[node.name] if user.name not in seen}
            found = [
                n for n in users.values() if _operator(n) in _CONVOLUTIONS and self._kind(n) is LayerKind.POINTWISE
            ]
            if found:
                return found
            seen |= set(users)
            reached = [n for n in users.values() if n.shape == depthwise.shape and _passes(n)]
        return []

    def _parameters(self, node: Node, kind: LayerKind) -> int:
        """How many parameters a node uses that no node before it did."""
        names = list(_references(node.args[:3] if kind is LayerKind.BATCH_NORM else (node.args, node.kwargs)))
        targets = {self.nodes[name].target for name in names if self.nodes[name].op == "get_attr"}
        new = {target for target in targets - self.counted if self._is_parameter(target)}
        self.counted |= new
        return sum(self.program.tensors[target].size for target in new)

    def _is_parameter(self, target: str) -> bool:
        return (
            self.program.tensors[target].dtype.kind == "f"
            and target not in self.buffers
            and not target.rpartition(".")[2].startswith(_CONSTANTS)
        )

    def _shape(self, node: Node, argument: int) -> Shape:
        """The shape of a node's argument."""
        given = self.nodes[node.args[argument]["node"]]
        return self.program.tensors[given.target].shape if given.op == "get_attr" else given.shape


def _operator(node: Node) -> str:
    """`conv2d` of `aten.conv2d.default`, `relu` of `aten.relu_.default`; empty for what is no call."""
    return node.target.split(".")[1].rstrip("_") if node.op == "call_function" and "." in node.target else ""


def _passes(node: Node) -> bool:
    operator = _operator(node)
    return bool(operator) and operator not in _MULTIPLYING and operator not in _POOLING


def _references(value: Any) -> Iterable[str]:
    """The names of the nodes inside an argument, see edgeds.program."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "node" and isinstance(item, str):
                yield item
            else:
                yield from _references(item)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
