"""Layer by layer, the float network and the quantized one side by side: each layer is quantized for the inputs that it will really get.

What the layers before have lost is in those inputs: weights are rounded for them, and a bias takes the mean of all that is wrong.

Where ranges were learned (edgeds.quantize.steps), what they clip is no error to make good for: the outputs are right with it. The float network has
its activations rounded as well then, and only what rounding weights has lost is corrected. MobileNetV2: 23.0 dB so, 15.6 against a plain one (2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from edgeds.eager import batch
from edgeds.program import module_path, tensor_of
from edgeds.quantize.bias import mean_error
from edgeds.quantize.gram import gram
from edgeds.quantize.handed import HandedScales
from edgeds.quantize.operators import WEIGHTED
from edgeds.quantize.rounding import damped, nearest, rounded
from edgeds.quantize.watch import Progress
from edgeds.quantize.weighted import Weighted, put_bias, put_tensor, weighted
from edgeds.spec import Samples

Values = list[Any]  # of one node: an entry a batch


class Lockstep:
    """Walks a prepared graph whose observers have seen the calibration samples, and changes its weights and biases in place.

    `learned`: the float network has rounded activations too.
    """

    def __init__(self, prepared: fx.GraphModule, techniques: Sequence[str], learned: bool = False) -> None:
        self._module = prepared
        self._techniques = techniques
        self._learned = learned
        self._exact: dict[fx.Node, Values] = {}
        self._quantized: dict[fx.Node, Values] = {}
        self._last_use = _last_uses(prepared)
        self._left_alone: list[str] = []

    def run(self, samples: Samples, size: int, progress: Progress) -> tuple[str, ...]:
        """Goes through the graph once with all samples, `size` at once; returns warnings."""
        batches = [batch(samples, first, size) for first in range(0, len(samples), size)]
        inputs = iter(range(len(samples.inputs)))
        nodes = list(self._module.graph.nodes)
        with torch.no_grad():
            for done, node in enumerate(nodes, 1):
                if node.op == "placeholder":
                    given = next(inputs)
                    self._exact[node] = [values[given] for values in batches]
                    self._quantized[node] = list(self._exact[node])
                elif node.op != "output":
                    self._visit(node, len(batches))
                self._forget(node)
                progress(done, len(nodes))
        self._module.recompile()
        return tuple(
            f"rounding and bias correction left {name} alone: they know 2-D convolutions and linear layers"
            for name in self._left_alone
        )

    def _visit(self, node: fx.Node, count: int) -> None:
        if node.op == "get_attr":
            self._exact[node] = self._quantized[node] = [tensor_of(self._module, node)] * count
        elif node.op == "call_module":
            self._observe(node)
        elif (layer := weighted(self._module, node)) and _is_quantized(layer):
            self._layer(layer)
        else:
            if _has_quantized_weights(node):
                self._left_alone.append(module_path(node) or node.name)
            self._exact[node] = self._compute(node, self._exact, count)
            self._quantized[node] = self._compute(node, self._quantized, count)

    def _compute(self, node: fx.Node, values: dict[fx.Node, Values], count: int) -> Values:
        """A node's value in every batch; what nothing reads afterwards is freed batch by batch."""
        made: Values = []
        dying = [x for x in node.all_input_nodes if self._last_use[x] is node and x.op != "get_attr"]
        for k in range(count):
            args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), lambda x, k=k: values[x][k])  # type: ignore[misc]
            made.append(node.target(*args, **kwargs))  # type: ignore[operator]  # a call_function's target is one
            for x in dying:
                values[x][k] = None
        return made

    def _observe(self, node: fx.Node) -> None:
        """An observer: rounding to the quantized network; to the float one nothing, or rounding of what is no weight."""
        source: Any = node.args[0]
        observer = getattr(self._module, str(node.target))
        scale, zero_point = observer.calculate_qparams()
        self._exact[node] = self._exact[source]
        if source.op == "get_attr":
            self._quantized[node] = [_rounded_by(observer, scale, zero_point, self._exact[source][0])] * len(
                self._exact[source]
            )
            return
        is_last = self._last_use[source] is node
        for values in (self._quantized, self._exact) if self._learned else (self._quantized,):
            made: Values = []
            for k, value in enumerate(values[source]):
                made.append(_rounded_by(observer, scale, zero_point, value))
                if is_last:
                    values[source][k] = None
            values[node] = made

    def _layer(self, layer: Weighted) -> None:
        observed: Any = layer.node.args[1]
        scale, _ = getattr(self._module, str(observed.target)).calculate_qparams()
        source: Any = layer.node.args[0]
        weight = _as_rounded(layer, scale, self._quantized[source], self._techniques)
        put_tensor(self._module, layer.constant, weight)
        setattr(self._module, str(observed.target), HandedScales(scale))
        self._exact[layer.node] = [layer.compute(x, layer.weight, layer.bias) for x in self._exact[source]]
        self._quantized[layer.node] = [layer.compute(x, weight, layer.bias) for x in self._quantized[source]]
        if "bias" in self._techniques:
            error = mean_error(self._exact[layer.node], self._quantized[layer.node])
            put_bias(self._module, layer.node, layer.bias + error)
            shape = (-1, 1, 1) if self._exact[layer.node][0].ndim == 4 else (-1,)
            for value in self._quantized[layer.node]:
                value += error.view(shape)

    def _forget(self, node: fx.Node) -> None:
        for x in (node, *node.all_input_nodes):
            if self._last_use.get(x) is node or not x.users:
                self._exact.pop(x, None)
                self._quantized.pop(x, None)


def _as_rounded(layer: Weighted, scale: torch.Tensor, inputs: Values, techniques: Sequence[str]) -> torch.Tensor:
    """The weights on their int8 grid."""
    matrix, steps = layer.matrix(layer.weight), scale.view(layer.groups, -1)
    if "round" in techniques:
        integers = rounded(matrix, steps, damped(gram(layer, inputs, centred="bias" in techniques)))
    else:
        integers = nearest(matrix, steps)
    return (integers * steps.unsqueeze(2)).reshape(layer.weight.shape)


def _rounded_by(observer: Any, scale: torch.Tensor, zero_point: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    low, high = observer.quant_min, observer.quant_max
    if len(scale.flatten()) > 1 or hasattr(observer, "ch_axis"):
        return torch.fake_quantize_per_channel_affine(value, scale, zero_point.int(), observer.ch_axis, low, high)
    return torch.fake_quantize_per_tensor_affine(value, float(scale), int(zero_point), low, high)


def _is_quantized(layer: Weighted) -> bool:
    return layer.node.args[1] is not layer.constant


def _has_quantized_weights(node: fx.Node) -> bool:
    weight: Any = node.args[1] if node.target in WEIGHTED else None
    return isinstance(weight, fx.Node) and weight.op == "call_module"


def _last_uses(module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """The last node that reads each node."""
    found: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        for x in node.all_input_nodes:
            found[x] = node
    return found
