"""Small models of everything that stands between convolutions, one class each; what they shall become is in test_structure.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = (1, 3, 12, 12)
SERIES = (1, 4, 32)

Forward = Callable[[Any, Any], Any]


class Net(nn.Module):
    """Two 1x1 convolutions around what `forward_function` does with the first one's ReLU: it gets the module and that value."""

    def __init__(self, forward_function: Forward, inputs: int = 3, middle: int = 8) -> None:
        super().__init__()
        self._forward = forward_function
        self.stem, self.head = nn.Conv2d(inputs, 8, 1), nn.Conv2d(middle, 5, 1)
        self.depthwise, self.twin = (nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(2))
        self.quarter = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.stretch = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.spread = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1, groups=8)
        self.norm, self.other_norm = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.channel_norm = nn.LayerNorm(8)
        self.reduce, self.expand, self.linear = nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 8)
        self.vector_norm = nn.BatchNorm1d(8)
        self.attention = nn.Conv1d(1, 1, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.table = nn.Parameter(torch.randn(8, 12, 12))
        for part in (self.norm, self.other_norm, self.vector_norm, self.channel_norm):
            for name, value in (*part.named_parameters(), *part.named_buffers()):
                if value.is_floating_point():
                    nn.init.uniform_(
                        value, -0.4 if name in ("bias", "running_mean") else 0.5, 0.4 if "bias" in name else 1.5
                    )
        self.doubled = nn.Conv2d(8, 16, 3, padding=1, groups=8)  # a depth multiplier of 2

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, F.relu(self.stem(x)))


class Series(nn.Module):
    """One-dimensional convolutions, as for sound and sensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(8)
        self.depthwise = nn.Conv1d(8, 8, 3, padding="same", groups=8, dilation=2)
        self.table = nn.Parameter(torch.randn(8, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool1d(F.relu(self.norm(self.first(x))), 2)
        x = x + F.relu(self.depthwise(x)) + self.table
        return self.head(torch.cat([x, x], 1)[:, 4:12].mean(-1))


def shuffled(x: Tensor, groups: int = 2) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shuffle_unit(m: Any, x: Tensor) -> Any:
    left, right = x.chunk(2, dim=1)
    return m.head(shuffled(torch.cat([left, F.relu(m.quarter(right))], 1)))


def split_unit(m: Any, x: Tensor) -> Any:
    first, second = torch.split(x, [4, 4], dim=1)
    return m.head(torch.cat([m.quarter(first), second], 1))


def unbound(m: Any, x: Tensor) -> Any:
    n, _, h, w = x.shape
    a, b = x.view(n, 2, 4, h, w).unbind(1)
    return m.head(torch.cat([a * b, x.view(n, 2, 4, h, w)[:, 1]], 1))


def squeeze_excite_linear(m: Any, x: Tensor) -> Any:
    gate = torch.sigmoid(m.expand(F.relu(m.reduce(F.adaptive_avg_pool2d(x, 1).flatten(1)))))
    return m.head(x * gate.view(1, 8, 1, 1).expand_as(x))


def efficient_attention(m: Any, x: Tensor) -> Any:
    gate = m.attention(x.mean((2, 3)).view(1, 1, 8)).transpose(1, 2).unsqueeze(-1)
    return m.head(x * torch.sigmoid(gate))


def convnext_block(m: Any, x: Tensor) -> Any:
    y = m.channel_norm(m.depthwise(x).permute(0, 2, 3, 1))
    y = m.expand(F.relu(m.reduce(y)))
    return m.head(x + (m.scale.view(8) * y).permute(0, 3, 1, 2))


def focus(m: Any, x: Tensor) -> Any:
    return m.head(torch.cat([x[..., ::2, ::2][:, :4], x[..., 1::2, 1::2][:, 4:]], 1))


def upsampled(m: Any, x: Tensor) -> Any:
    return m.head(F.interpolate(F.max_pool2d(x, 2), scale_factor=2) + x)


# What stands between the two convolutions, and what it becomes (the first convolution and its ReLU come before it, the last one behind).
STRUCTURES: dict[str, tuple[Forward, str]] = {
    "chunk and shuffle": (shuffle_unit, "slice slice conv2d relu cat reshape permute reshape"),
    "split": (split_unit, "slice slice conv2d cat"),
    "unbind and select": (unbound, "slice slice mul cat"),
    "depth multiplier": (lambda m, x: m.head(F.relu(m.doubled(x))[:, 4:12]), "conv2d relu slice"),
    "batch-norm behind a ReLU": (lambda m, x: m.head(F.relu(m.norm(x))), "conv2d relu"),
    "two batch-norms of one value": (
        lambda m, x: m.head(F.relu(m.norm(x)) + F.relu(m.other_norm(x))),
        "conv2d relu conv2d relu add",
    ),
    "batch-norm behind a concatenation": (
        lambda m, x: m.head(F.relu(m.norm(torch.cat([x[:, :4], m.quarter(x[:, 4:])], 1)))),
        "slice slice conv2d cat conv2d relu",
    ),
    "batch-norm before a convolution": (lambda m, x: m.head(m.norm(x)), ""),
    "batch-norm before a padded convolution": (lambda m, x: m.head(m.depthwise(m.norm(x))), "conv2d conv2d"),
    "batch-norm of a vector": (
        lambda m, x: m.linear(F.relu(m.vector_norm(m.linear(x.mean((2, 3)))))),
        "mean reshape linear relu linear",
    ),
    "numbers": (lambda m, x: m.head((x - 0.4) / 0.3 * 2 + 1), ""),
    "a number minus it": (lambda m, x: m.head(1 - m.depthwise(x)), "conv2d"),
    "negated": (lambda m, x: m.head(-m.depthwise(x)), "conv2d"),
    "layer scale": (lambda m, x: m.head(x + m.scale * m.depthwise(x)), "conv2d add"),
    "layer scale of a sum": (lambda m, x: m.depthwise(m.scale * (x + m.twin(x))), "conv2d add conv2d"),
    "a table that is added": (lambda m, x: m.head(x + m.table), "add"),
    "a difference": (lambda m, x: m.head(m.depthwise(x) - m.twin(x)), "conv2d conv2d add"),
    "a square": (lambda m, x: m.head(x**2), "mul"),
    "average pool": (lambda m, x: m.head(F.avg_pool2d(x, 2)), "conv2d"),
    "average pool that counts its padding": (lambda m, x: m.head(F.avg_pool2d(x, 3, 2, 1)), "conv2d"),
    "average pool that does not count it": (
        lambda m, x: m.head(F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
        "conv2d mul",
    ),
    "average pool with ceil_mode": (
        lambda m, x: m.head(F.avg_pool2d(x, 5, 2, 1, ceil_mode=True)),
        "constant_pad_nd conv2d mul",
    ),
    "average pool whose ceil_mode does nothing": (
        lambda m, x: m.head(F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)),
        "conv2d",
    ),
    "adaptive pool to a divisor": (lambda m, x: m.head(F.adaptive_avg_pool2d(x, (3, 4))), "conv2d"),
    "adaptive pool to another size": (lambda m, x: m.head(F.adaptive_avg_pool2d(x, 5)), "reshape linear reshape"),
    "largest of an image": (lambda m, x: m.head(F.adaptive_max_pool2d(x, 1)), "max_pool2d"),
    "largest of an image, as amax": (lambda m, x: m.head(x.amax((-1, 2), keepdim=True)), "max_pool2d"),
    "mean over rows": (lambda m, x: m.head(x.mean(2, keepdim=True)), "permute reshape mean reshape"),
    "mean over channels": (lambda m, x: m.head(x * x.mean(1, keepdim=True)), "conv2d mul"),
    "mean of tokens": (lambda m, x: m.linear(x.flatten(2).transpose(1, 2).mean(1)), "mean reshape linear"),
    "squeeze-excite": (squeeze_excite_linear, "mean reshape linear relu linear sigmoid reshape mul"),
    "attention of neighbours": (efficient_attention, "mean reshape conv2d reshape sigmoid mul"),
    "transposed convolution": (
        lambda m, x: m.head(F.relu(m.other_norm(m.stretch(x)))),
        "conv2d relu reshape permute reshape slice slice",
    ),
    "depthwise transposed convolution": (
        lambda m, x: m.head(m.spread(x)),
        "conv2d reshape permute reshape slice slice",
    ),
    "reflection": (lambda m, x: m.head(F.pad(x, (2, 1, 0, 1), mode="reflect")), "slice slice slice cat slice cat"),
    "replication": (lambda m, x: m.head(F.pad(x, (0, 1, 2, 0), mode="replicate")), "slice cat slice cat"),
    "circular": (lambda m, x: m.head(F.pad(x, (1, 1, 1, 1), mode="circular")), "slice slice cat slice slice cat"),
    "pixel shuffle and back": (lambda m, x: m.head(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)), ""),
    "pixel shuffle": (
        lambda m, x: m.head(F.pixel_unshuffle(F.pixel_shuffle(x, 2)[:, :, 2:, 2:], 2)),
        "reshape permute reshape slice slice reshape permute reshape",
    ),
    "ConvNeXt's block": (convnext_block, "conv2d permute layer_norm permute conv2d relu conv2d add"),
    "every second pixel": (focus, "slice slice slice slice slice slice cat"),
    "nearest upsampling": (upsampled, "max_pool2d upsample_nearest2d add"),
    "the same twice": (
        lambda m, x: m.head(F.relu(m.depthwise(x)) * F.relu(m.depthwise(x)).flip(0)),
        "conv2d relu flip mul",
    ),
}


def made(name: str) -> nn.Module:
    """A structure's model, its weights seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net(STRUCTURES[name][0]).eval().requires_grad_(False)
