"""The blocks that the zoo is built from: depthwise separable convolution, SAME padding, pooling, seeded weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeds.errors import InputError


class DepthwiseSeparableConv(nn.Module):
    """Depthwise k x k convolution, then pointwise 1 x 1 convolution, each with BN and an activation.

    float32 [N, in_channels, H, W] -> [N, out_channels, ceil(H/stride), ceil(W/stride)]. The depthwise convolution
    gives every input channel a filter of its own; the pointwise one mixes the channels. With M inputs and N outputs
    that is k²·M + M·N weights, and 1/N + 1/k² of an ordinary convolution's multiplications (arXiv:1704.04861).
    `bias` gives both convolutions a bias, which the BN after them makes redundant; `eps` is BN's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU,
        *,
        bias: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(
                f"a separable convolution cannot have kernel size {kernel_size}; choose an odd one, like 3"
            )
        self.depthwise = convolution(in_channels, in_channels, kernel_size, stride, groups=in_channels, bias=bias)
        self.depthwise_norm = norm_before_activation(in_channels, eps)
        self.depthwise_activation = activation()
        self.pointwise = convolution(in_channels, out_channels, 1, bias=bias)
        self.pointwise_norm = norm_before_activation(out_channels, eps)
        self.pointwise_activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, in_channels, H, W]."""
        x = self.depthwise_activation(self.depthwise_norm(self.depthwise(x)))
        y: Tensor = self.pointwise_activation(self.pointwise_norm(self.pointwise(x)))
        return y


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, an odd padding's rest at the end.

    How much is padded depends on the input's size, which is static in an exported graph, so the padding is a constant
    there. Where it is the same on both sides it is given to the convolution, which saves an operator.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, C, H, W]."""
        top, bottom = same_padding(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x.shape[3], self.kernel_size[1], self.stride[1])
        padding = [top, left]
        if (top, left) != (bottom, right):
            x = F.pad(x, [left, right, top, bottom])
            padding = [0, 0]
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Pixels that SAME puts before and after an axis of `size` pixels (TensorFlow's `nn.convolution`)."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
    same: bool = False,
    gain: float = 2.0,
) -> nn.Conv2d:
    """A convolution with fresh weights; padded by kernel_size // 2 on all sides, or `same` (see SameConv2d).

    The weights' variance is gain / fan_in (He et al., arXiv:1502.01852): 2 keeps the scale of what passes through a
    ReLU. fan_in counts a group's inputs only, so that a depthwise layer keeps it as well.
    """
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    kind, padding = (SameConv2d, (0, 0)) if same else (nn.Conv2d, (kernel[0] // 2, kernel[1] // 2))
    conv = kind(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)
    nn.init.normal_(conv.weight, 0.0, math.sqrt(gain / (in_channels // groups * kernel[0] * kernel[1])))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A fully connected layer with fresh weights of variance 1 / in_features and no bias yet."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(1.0 / in_features))
    nn.init.zeros_(layer.bias)
    return layer


# A linear projection that ends a residual branch: small enough that the sums of many blocks do not run into ReLU6's 6.
PROJECTION_GAIN = 0.5


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    activation: type[nn.Module] | None,
    *,
    groups: int = 1,
    eps: float = 1e-5,
    gain: float = 2.0,
) -> nn.Sequential:
    """Convolution, BN and activation (None for a linear projection) as the children 0, 1 and 2, torchvision's names."""
    conv = convolution(in_channels, out_channels, kernel_size, stride, groups=groups, gain=gain)
    if activation is None:
        return nn.Sequential(conv, nn.BatchNorm2d(out_channels, eps=eps))
    return nn.Sequential(conv, norm_before_activation(out_channels, eps), activation())


def norm_before_activation(channels: int, eps: float) -> nn.BatchNorm2d:
    """A fresh BN with a bias of 1, which keeps most values out of the zeros of the ReLU or hard-swish behind it.

    With zero-centred activations a deep random network is chaotic, as no trained one is: small differences grow from layer to layer
    (MobileNetV1 without shortcuts: float rounding to 94 dB at the output, with this 120; MobileNetV3-Large: int8 to 6 dB,
    with this 24).
    """
    norm = nn.BatchNorm2d(channels, eps=eps)
    nn.init.ones_(norm.bias)
    return norm


def global_mean(x: Tensor) -> Tensor:
    """Mean over the image: float32 [N, C, H, W] -> [N, C]. `keepdim` keeps it inside XNNPACK's delegate."""
    return x.mean((2, 3), keepdim=True).flatten(1)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """`channels` rounded to a multiple of `divisor`, never down by more than 10 % (MobileNetV2's reference code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, random numbers come from `seed` alone, so weights repeat; the caller's generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_arguments(width: float, num_classes: int, input_size: int, smallest: int = 32) -> None:
    """Raise InputError where no network of these dimensions exists. `smallest`: the least input size, in pixels."""
    if not 0.05 <= width <= 8.0:
        raise InputError(f"width multiplier {width} is out of range; choose from 0.05 to 8, 1 is the published network")
    if num_classes < 1:
        raise InputError(f"a classifier cannot have {num_classes} classes; give at least 1")
    if input_size < smallest:
        raise InputError(f"input size {input_size} is too small for this network; give at least {smallest}")
