"""MobileNetV1 (Howard et al., arXiv:1704.04861)."""

from __future__ import annotations

from torch import Tensor, nn

from edgeds.models.blocks import (
    DepthwiseSeparableConv,
    check_arguments,
    conv_norm_act,
    global_mean,
    linear,
    seeded,
)

# Output channels and stride of the 13 separable convolutions (the paper's table 1).
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


class MobileNetV1(nn.Module):
    """float32 [N, 3, H, W] -> logits [N, num_classes]."""

    def __init__(self, width: float, num_classes: int, input_size: int) -> None:
        super().__init__()
        check_arguments(width, num_classes, input_size)
        self.input_shape = (1, 3, input_size, input_size)
        channels = max(8, int(32 * width))
        self.stem = conv_norm_act(3, channels, 3, 2, nn.ReLU6)
        blocks = []
        for published, stride in BLOCKS:
            out_channels = max(8, int(published * width))
            blocks.append(DepthwiseSeparableConv(channels, out_channels, 3, stride, nn.ReLU6))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, 3, H, W]."""
        y: Tensor = self.classifier(global_mean(self.blocks(self.stem(x))))
        return y


def mobilenet_v1(width: float = 1.0, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """MobileNetV1 with seeded weights; 4,231,976 parameters as published. Raises InputError."""
    with seeded(seed):
        return MobileNetV1(width, num_classes, input_size)
