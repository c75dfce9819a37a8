"""MobileNetV3, small and large (Howard et al., arXiv:1905.02244), with torchvision's state-dict names."""

from __future__ import annotations

from typing import NamedTuple

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

BN_EPS = 1e-3  # as in the TensorFlow model that torchvision's weights follow

# Fresh weights: hard-swish passes less than ReLU, and squeeze-and-excite starts near a scale of 1/2.
HARDSWISH_GAIN = 2.8
EXCITED_GAIN = 3.5 * PROJECTION_GAIN


class Block(NamedTuple):
    """One line of the paper's tables 1 and 2: `se` is squeeze-and-excite, `hs` hard-swish instead of ReLU."""

    kernel: int
    expanded: int
    out: int
    se: bool
    hs: bool
    stride: int


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)


class SqueezeExcitation(nn.Module):
    """Scales every channel by a number between 0 and 1 that two 1x1 convolutions make of all the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = make_divisible(channels // 4)
        self.fc1 = convolution(channels, squeezed, 1, bias=True)
        self.activation = nn.ReLU()
        self.fc2 = convolution(squeezed, channels, 1, bias=True, gain=1.0)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, channels, H, W]."""
        squeezed = self.activation(self.fc1(x.mean((2, 3), keepdim=True)))
        y: Tensor = self.scale_activation(self.fc2(squeezed)) * x
        return y


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, squeeze-and-excite, linear projection 1x1; plus the input where the shapes agree."""

    def __init__(self, in_channels: int, block: Block, width: float) -> None:
        super().__init__()
        hidden, out_channels = make_divisible(block.expanded * width), make_divisible(block.out * width)
        self.residual = block.stride == 1 and in_channels == out_channels
        act: type[nn.Module] = nn.Hardswish if block.hs else nn.ReLU
        gain = HARDSWISH_GAIN if block.hs else 2.0
        layers: list[nn.Module] = []
        if hidden != in_channels:
            layers.append(conv_norm_act(in_channels, hidden, 1, 1, act, eps=BN_EPS, gain=gain))
        layers.append(
            conv_norm_act(hidden, hidden, block.kernel, block.stride, act, groups=hidden, eps=BN_EPS, gain=gain)
        )
        if block.se:
            layers.append(SqueezeExcitation(hidden))
        layers.append(
            conv_norm_act(
                hidden, out_channels, 1, 1, None, eps=BN_EPS, gain=EXCITED_GAIN if block.se else PROJECTION_GAIN
            )
        )
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, in_channels, H, W]."""
        y: Tensor = x + self.block(x) if self.residual else self.block(x)
        return y


class MobileNetV3(nn.Module):
    """float32 [N, 3, H, W] -> logits [N, num_classes]. `head`: features of the layer before the last."""

    def __init__(self, blocks: tuple[Block, ...], head: int, width: float, num_classes: int, input_size: int) -> None:
        super().__init__()
        check_arguments(width, num_classes, input_size)
        self.input_shape = (1, 3, input_size, input_size)
        channels = make_divisible(16 * width)
        features: list[nn.Module] = [conv_norm_act(3, channels, 3, 2, nn.Hardswish, eps=BN_EPS, gain=HARDSWISH_GAIN)]
        for block in blocks:
            features.append(InvertedResidual(channels, block, width))
            channels = make_divisible(block.out * width)
        last = conv_norm_act(channels, 6 * channels, 1, 1, nn.Hardswish, eps=BN_EPS, gain=HARDSWISH_GAIN)
        self.features = nn.Sequential(*features, last)
        head = make_divisible(head * width)
        self.classifier = nn.Sequential(
            linear(6 * channels, head), nn.Hardswish(), nn.Dropout(0.2), linear(head, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, 3, H, W]."""
        y: Tensor = self.classifier(global_mean(self.features(x)))
        return y


def mobilenet_v3_small(width: float = 1.0, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """MobileNetV3-Small with seeded weights; 2,542,856 parameters as published. Raises InputError."""
    with seeded(seed):
        return MobileNetV3(SMALL, 1024, width, num_classes, input_size)


def mobilenet_v3_large(width: float = 1.0, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """MobileNetV3-Large with seeded weights; 5,483,032 parameters as published. Raises InputError."""
    with seeded(seed):
        return MobileNetV3(LARGE, 1280, width, num_classes, input_size)
