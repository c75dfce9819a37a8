"""Small separable nets with trained-looking batch-norm, and their canonical graphs: what the techniques are tested on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeds.quantize.fold_batch_norm import fold_batch_norm
from edgeds.quantize.pt2e import canonical_graph
from edgeds.spec import Program, Samples

SHAPE = (1, 3, 12, 12)


class Block(nn.Module):
    """A convolution and batch-norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, groups: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.norm.weight.data = torch.rand(outputs) + 0.5
        self.norm.bias.data = torch.randn(outputs) * 0.3
        self.norm.get_buffer("running_var").data = torch.rand(outputs) + 0.1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


def unbalance(first: Any, second: Any) -> None:
    """Makes some channels up to a hundred times narrower than others, and lets the next layer make good for it, as training does.

    `first` is what gives the channels (a batch-norm or a convolution), `second` the layer that reads them.
    """
    for parameter in (first.weight, first.bias):
        factor = torch.logspace(-2, 0, len(parameter))
        parameter.data *= factor.view(-1, *[1] * (parameter.ndim - 1))
    shape = (-1, 1) if second.groups > 1 else (1, -1)
    second.weight.data /= factor.view(*shape, *[1] * (second.weight.ndim - 2))


class Inverted(nn.Module):
    """MobileNetV2 in small: ReLU6, a residual add, a strided 5x5 with a multiplier of 2, a concatenation, a mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 8, 3)
        self.expand, self.depthwise, self.project = Block(8, 16), Block(16, 16, 3, 16), Block(16, 8)
        self.multiplied, self.grouped = Block(8, 16, 5, 8, 2), Block(16, 12, 3, 4)
        self.classifier = nn.Linear(28, 5)
        unbalance(self.expand.norm, self.depthwise.conv)
        unbalance(self.depthwise.norm, self.project.conv)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem(x))
        x = x + self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        x = F.relu(self.multiplied(x))
        x = torch.cat([x, F.leaky_relu(self.grouped(x))], 1)
        y: Tensor = self.classifier(x.mean((2, 3)))
        return y


class Gated(nn.Module):
    """MobileNetV3 and EfficientNet in small: hardswish, SiLU, squeeze-and-excite, a shuffle, a max-pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise, self.project = Block(3, 8, 3), Block(8, 8, 3, 8), Block(8, 8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.classifier = nn.Conv2d(8, 5, 1)
        unbalance(self.depthwise.norm, self.project.conv)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.stem(x))
        x = F.relu(self.depthwise(x))
        x = x * F.hardsigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = F.silu(self.project(x)) + x
        x = F.max_pool2d(F.channel_shuffle(x, 2), 2)
        y: Tensor = self.classifier(x).mean((2, 3))
        return y


class Sound(nn.Module):
    """One-dimensional: depthwise and pointwise convolutions over time."""

    input_shape = (1, 3, 40)

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.pointwise = nn.Conv1d(3, 6, 5, 2, 2, groups=3), nn.Conv1d(6, 8, 1)
        self.classifier = nn.Linear(8, 5)
        unbalance(self.depthwise, self.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pointwise(F.relu(self.depthwise(x))))
        y: Tensor = self.classifier(x.mean(2))
        return y


def seeded(net: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net().eval()


def inputs(
    count: int = 24, shape: tuple[int, ...] = SHAPE, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, *shape[1:])).astype(np.float32)


def folded(program: Program, samples: Samples) -> fx.GraphModule:
    """The canonical graph of a program, without batch-norm, as the techniques get it."""
    module, warnings = canonical_graph(program, samples)
    assert not warnings
    fold_batch_norm(module)
    return module
