"""Channel factors as something to train: what equalization has chosen, how far that may move, and what it costs the weights.

Equalization chooses factors for noise that is small and independent. Where ranges are trained (edgeds.quantize.steps), and clip, other factors
are better: a channel whose extremes are clipped anyway may be wider. The float network computes the same with any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeds.quantize.canonical.edit import arguments
from edgeds.quantize.factors import Bounds, Reader, noise
from edgeds.quantize.weighted import Weighted, put_tensor, weighted_layers


@dataclass(frozen=True, slots=True)
class ChannelFactors:
    """`chosen` [count]: what each factor is. `of`: which factor each channel (axis 1) of a value has, by the value's name, int64 [C].

    `bounds` and `readers` are those of the network before it was scaled.
    """

    chosen: torch.Tensor
    of: Mapping[str, torch.Tensor]
    bounds: Bounds
    readers: Sequence[Reader]

    def weight_noise(self, logs: torch.Tensor) -> torch.Tensor:
        """The noise-to-signal ratio at the outputs that rounding the weights makes, for the factors' logarithms."""
        return noise(logs.exp(), [], self.readers)


def rescale(prepared: fx.GraphModule, factors: ChannelFactors, more: torch.Tensor) -> None:
    """Scales each channel of a prepared graph by so much more, in place: `more` [count]. Observers of activations stay as they are."""
    for layer in weighted_layers(prepared):
        if layer.node.name in factors.of:
            _rescale_layer(prepared, layer, factors, more)


def _rescale_layer(prepared: fx.GraphModule, layer: Weighted, factors: ChannelFactors, more: torch.Tensor) -> None:
    given = more[factors.of[layer.node.name]]
    read = more[factors.of[_value(layer.node).name]].view(layer.groups, -1)
    over = (layer.kernels(layer.weight) / read[:, None, :, None]).reshape(layer.weight.shape)
    weight = over * given.view(-1, *[1] * (over.ndim - 1))
    put_tensor(prepared, layer.constant, weight)
    bias = arguments(layer.node)["bias"]
    if bias is not None:
        put_tensor(prepared, bias, layer.bias * given)
    observed: Any = layer.node.args[1]
    if observed is not layer.constant:
        observer = getattr(prepared, str(observed.target))
        observer.reset_min_max_vals()
        observer(weight)


def _value(node: fx.Node) -> fx.Node:
    """What a layer reads, before an observer that may stand between."""
    source: Any = node.args[0]
    while source.op == "call_module":
        source = source.args[0]
    found: fx.Node = source
    return found
