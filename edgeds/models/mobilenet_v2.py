"""MobileNetV2 (Sandler et al., arXiv:1801.04381), with torchvision's state-dict names."""

from __future__ import annotations

from torch import Tensor, nn

from edgeds.models.blocks import (
    PROJECTION_GAIN,
    check_arguments,
    conv_norm_act,
    convolution,
    global_mean,
    linear,
    make_divisible,
    seeded,
)

# Expansion, output channels, repeats, stride of the first (the paper's table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, linear projection 1x1; plus the input where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        hidden = in_channels * expansion
        expand = [conv_norm_act(in_channels, hidden, 1, 1, nn.ReLU6)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm_act(hidden, hidden, 3, stride, nn.ReLU6, groups=hidden),
            convolution(hidden, out_channels, 1, gain=PROJECTION_GAIN),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, in_channels, H, W]."""
        y: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return y


class MobileNetV2(nn.Module):
    """float32 [N, 3, H, W] -> logits [N, num_classes]."""

    def __init__(self, width: float, num_classes: int, input_size: int) -> None:
        super().__init__()
        check_arguments(width, num_classes, input_size)
        self.input_shape = (1, 3, input_size, input_size)
        channels = make_divisible(32 * width)
        features: list[nn.Module] = [conv_norm_act(3, channels, 3, 2, nn.ReLU6)]
        for expansion, published, repeats, stride in STAGES:
            out_channels = make_divisible(published * width)
            for i in range(repeats):
                features.append(InvertedResidual(channels, out_channels, stride if i == 0 else 1, expansion))
                channels = out_channels
        last = make_divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*features, conv_norm_act(channels, last, 1, 1, nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, 3, H, W]."""
        y: Tensor = self.classifier(global_mean(self.features(x)))
        return y


def mobilenet_v2(width: float = 1.0, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """MobileNetV2 with seeded weights; 3,504,872 parameters as published. Raises InputError."""
    with seeded(seed):
        return MobileNetV2(width, num_classes, input_size)
