"""Four small separable-convolution nets for images of 1 x 28 x 28 and 10 classes, in plain PyTorch, as their papers' code has them.

Nothing here knows of edgeds but `input_shape`, by which it learns the input's shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10


class _Classifier(nn.Module):
    """What all four have in common: features, a global average, a linear layer."""

    input_shape = (1, 1, 28, 28)

    def __init__(self, features: nn.Module, channels: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(torch.flatten(self.pool(self.features(x)), 1))
        return y


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    """A convolution with batch-norm and, where there is one, an activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([act()] if act else []))


class _SqueezeExcite(nn.Module):
    """A gate for each channel, from the averages of all channels."""

    def __init__(self, channels: int, squeezed: int, act: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = act()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * gate


class _InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project; the input is added where the shape stays."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        stride: int,
        act: type[nn.Module],
        squeeze: nn.Module,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.block = nn.Sequential(
            _conv(inputs, expanded, act=act),
            _conv(expanded, expanded, kernel, stride, groups=expanded, act=act),
            squeeze,
            _conv(expanded, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(_Classifier):
    """After arxiv.org/abs/1905.02244: hardswish and ReLU, squeeze-and-excite with hardsigmoid, depthwise 5x5."""

    def __init__(self) -> None:
        def block(
            inputs: int, expanded: int, outputs: int, kernel: int, stride: int, act: type[nn.Module]
        ) -> nn.Module:
            squeeze = _SqueezeExcite(expanded, expanded // 4, nn.ReLU, nn.Hardsigmoid)
            return _InvertedResidual(inputs, expanded, outputs, kernel, stride, act, squeeze)

        features = nn.Sequential(
            _conv(1, 16, 3, stride=2, act=nn.Hardswish),
            block(16, 32, 24, 3, 2, nn.ReLU),
            block(24, 72, 24, 5, 1, nn.Hardswish),
            block(24, 72, 24, 3, 1, nn.Hardswish),
            _conv(24, 96, act=nn.Hardswish),
        )
        super().__init__(features, 96)


class EfficientNet(_Classifier):
    """After arxiv.org/abs/1905.11946: SiLU, squeeze-and-excite with sigmoid."""

    def __init__(self) -> None:
        def block(inputs: int, expansion: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            expanded = expansion * inputs
            squeeze = _SqueezeExcite(expanded, inputs // 4, nn.SiLU, nn.Sigmoid)
            return _InvertedResidual(inputs, expanded, outputs, kernel, stride, nn.SiLU, squeeze)

        features = nn.Sequential(
            _conv(1, 16, 3, stride=2, act=nn.SiLU),
            block(16, 2, 24, 3, 2),
            block(24, 4, 24, 5, 1),
            block(24, 4, 24, 3, 1),
            _conv(24, 128, act=nn.SiLU),
        )
        super().__init__(features, 128)


class _Ghost(nn.Module):
    """Half of the channels from a pointwise convolution, the other half from a cheap depthwise one of those."""

    def __init__(self, inputs: int, outputs: int, relu: bool) -> None:
        super().__init__()
        act = nn.ReLU if relu else None
        self.outputs = outputs
        half = -(-outputs // 2)
        self.primary = _conv(inputs, half, act=act)
        self.cheap = _conv(half, half, 3, groups=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)[:, : self.outputs]


class _GhostBottleneck(nn.Module):
    def __init__(self, inputs: int, expanded: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand = _Ghost(inputs, expanded, relu=True)
        self.depthwise = _conv(expanded, expanded, 3, stride, groups=expanded) if stride > 1 else nn.Identity()
        self.squeeze = _SqueezeExcite(expanded, expanded // 4, nn.ReLU, nn.Hardsigmoid)
        self.project = _Ghost(expanded, outputs, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_conv(inputs, inputs, 3, stride, groups=inputs), _conv(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.squeeze(self.depthwise(self.expand(x)))) + self.shortcut(x)
        return y


class GhostNet(_Classifier):
    """After arxiv.org/abs/1911.11907: cheap depthwise operations, concatenated and sliced; squeeze-and-excite with hardsigmoid."""

    def __init__(self) -> None:
        features = nn.Sequential(
            _conv(1, 16, 3, stride=2, act=nn.ReLU),
            _GhostBottleneck(16, 49, 32, stride=2),  # an odd number, so that the slice cuts something off
            _GhostBottleneck(32, 96, 32, stride=1),
            _GhostBottleneck(32, 96, 32, stride=1),
            _conv(32, 128, act=nn.ReLU),
        )
        super().__init__(features, 128)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups in turn, as torchvision has it."""
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, channels, height, width)


class _ShuffleUnit(nn.Module):
    """Half of the channels pass, the other half is convolved; with a stride both are, and all channels go into each."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.split = stride == 1
        half = outputs // 2
        self.passing = nn.Sequential()
        if not self.split:
            self.passing = nn.Sequential(
                _conv(inputs, inputs, 3, stride, groups=inputs), _conv(inputs, half, act=nn.ReLU)
            )
        self.convolved = nn.Sequential(
            _conv(half if self.split else inputs, half, act=nn.ReLU),
            _conv(half, half, 3, stride, groups=half),
            _conv(half, half, act=nn.ReLU),
        )

    def forward(self, x: Tensor) -> Tensor:
        passing, convolved = x.chunk(2, dim=1) if self.split else (x, x)
        return _shuffle(torch.cat((self.passing(passing), self.convolved(convolved)), dim=1), 2)


class ShuffleNetV2(_Classifier):
    """After arxiv.org/abs/1807.11164: channels split, concatenated and shuffled."""

    def __init__(self) -> None:
        features = nn.Sequential(
            _conv(1, 16, 3, stride=2, act=nn.ReLU),
            _ShuffleUnit(16, 64, stride=2),
            _ShuffleUnit(64, 64, stride=1),
            _ShuffleUnit(64, 64, stride=1),
            _ShuffleUnit(64, 64, stride=1),
            _conv(64, 96, act=nn.ReLU),
        )
        super().__init__(features, 96)


NETS: tuple[type[_Classifier], ...] = (MobileNetV3, EfficientNet, GhostNet, ShuffleNetV2)
