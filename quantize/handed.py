"""The observer that has nothing to observe: it hands PT2E the scales that weights were rounded with."""

from __future__ import annotations

import torch
from torchao.quantization.pt2e import PerChannelMinMaxObserver


class HandedScales(PerChannelMinMaxObserver):  # type: ignore[misc]  # torchao is untyped
    """Per-channel symmetric int8 with given scales, float32 [O]."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__(
            ch_axis=0, dtype=torch.int8, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric
        )
        self.handed = scale

    def forward(self, x_orig: torch.Tensor) -> torch.Tensor:
        """Looks at nothing."""
        return x_orig

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The scales, and zero points of 0."""
        return self.handed, torch.zeros(len(self.handed), dtype=torch.int64)
