"""Fashion-MNIST's images for nets that take larger ones, in colour."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def fitted(images: Tensor, input_shape: Sequence[int]) -> Tensor:
    """float32 [N, 1, 28, 28] -> [N, C, H, W] of `input_shape` (N, C, H, W), whose N does not matter: bilinear, and each channel the same."""
    _, channels, *size = input_shape
    if list(images.shape[2:]) != size:
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return images.expand(-1, channels, -1, -1)
