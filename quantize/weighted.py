"""Convolutions and linear layers as a matrix a group: what rounding, correction and equalization know of them."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from edgeds.program import module_path, tensor_of
from edgeds.quantize.canonical.edit import add_tensor, arguments, is_constant

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Weighted:
    """A convolution or linear layer whose weights are constant. `weight` is float32 [O, I/groups, ...], `bias` [O]."""

    node: fx.Node
    constant: fx.Node
    weight: torch.Tensor
    bias: torch.Tensor
    groups: int

    @property
    def name(self) -> str:
        """The user's module, or the step where none is known."""
        return module_path(self.node) or self.node.name

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """[groups, O/groups, columns] of weights [O, I/groups, ...]: what each output takes of a patch of its group's inputs."""
        return weight.reshape(self.groups, len(weight) // self.groups, -1)

    def kernels(self, weight: torch.Tensor) -> torch.Tensor:
        """[groups, O/groups, I/groups, kernel] of weights [O, I/groups, ...]."""
        return weight.reshape(self.groups, len(weight) // self.groups, weight.shape[1], -1)

    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """The layer's output with other weights and another bias; `x` is [N, ...] with any N."""
        result: torch.Tensor = self.node.target(x, weight, bias, *self.node.args[3:])  # type: ignore[operator]
        return result

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """[groups, columns, places] of inputs [N, ...]: `matrix(weight) @ patches(x)` is the output without bias, place by place."""
        if self.node.target is aten.linear.default:
            return x.reshape(-1, x.shape[-1]).T.unsqueeze(0)
        given = arguments(self.node)
        kernel = self.weight.shape[2:]
        if set(kernel) == {1} and set(given["padding"]) == {0}:
            down, right = _two(given["stride"])
            columns = x[:, :, ::down, ::right].flatten(2)
        else:
            columns = F.unfold(x, _two(kernel), _two(given["dilation"]), _two(given["padding"]), _two(given["stride"]))
        apart = columns.view(len(x), self.groups, -1, columns.shape[-1])
        return apart.permute(1, 2, 0, 3).flatten(2)


def weighted_layers(module: fx.GraphModule) -> Iterator[Weighted]:
    """Every two-dimensional convolution and linear layer with constant weights, in the order of the graph."""
    for node in module.graph.nodes:
        if found := weighted(module, node):
            yield found


def weighted(module: fx.GraphModule, node: fx.Node) -> Weighted | None:
    """The layer at this node; in a prepared graph an observer may stand between it and its weights."""
    if node.target not in (aten.conv2d.default, aten.linear.default):
        return None
    given = arguments(node)
    constant, bias = _behind_observer(given["weight"]), given["bias"]
    if not is_constant(constant) or not (bias is None or is_constant(bias)) or given.get("input") is None:
        return None
    weight = tensor_of(module, constant)
    shift = torch.zeros(len(weight)) if bias is None else tensor_of(module, bias)
    return Weighted(node, constant, weight, shift, int(given.get("groups", 1)))


def put_tensor(module: fx.GraphModule, constant: fx.Node, value: torch.Tensor) -> None:
    """Gives a constant another value."""
    operator.attrgetter(str(constant.target))(module).data = value.contiguous()


def put_bias(module: fx.GraphModule, node: fx.Node, value: torch.Tensor) -> None:
    """Gives a layer this bias, also where it had none."""
    bias = arguments(node)["bias"]
    if bias is not None:
        put_tensor(module, bias, value)
        return
    with module.graph.inserting_before(node):
        made = add_tensor(module, "bias", value)
    node.args = (*node.args[:2], made, *node.args[3:])


def _behind_observer(node: Any) -> Any:
    return node.args[0] if isinstance(node, fx.Node) and node.op == "call_module" else node


def _two(value: Any) -> tuple[int, int]:
    first, *rest = value
    return int(first), int(rest[0] if rest else first)
