"""DS-CNN for keyword spotting, as in MLPerf Tiny (Zhang et al., arXiv:1711.07128; Banbury et al., arXiv:2106.07597)."""

from __future__ import annotations

from torch import Tensor, nn

from edgeds.models.blocks import DepthwiseSeparableConv, check_arguments, convolution, global_mean, linear, seeded

BN_EPS = 1e-3  # Keras' default, which the reference model has
COEFFICIENTS = 10  # MFCCs a frame
N_BLOCKS = 4


class DSCNN(nn.Module):
    """MFCCs float32 [N, 1, frames, 10] -> logits [N, num_classes]; its convolutions have biases, as the reference's."""

    def __init__(self, width: float, num_classes: int, input_size: int) -> None:
        super().__init__()
        check_arguments(width, num_classes, input_size, smallest=2)
        self.input_shape = (1, 1, input_size, COEFFICIENTS)
        channels = max(8, int(64 * width))
        self.stem = convolution(1, channels, (10, 4), 2, bias=True, same=True)
        self.stem_norm = nn.BatchNorm2d(channels, eps=BN_EPS)
        self.stem_activation = nn.ReLU()
        self.blocks = nn.Sequential(
            *(DepthwiseSeparableConv(channels, channels, 3, 1, nn.ReLU, bias=True, eps=BN_EPS) for _ in range(N_BLOCKS))
        )
        self.classifier = linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [N, 1, frames, 10]."""
        x = self.stem_activation(self.stem_norm(self.stem(x)))
        y: Tensor = self.classifier(global_mean(self.blocks(x)))
        return y


def ds_cnn(width: float = 1.0, num_classes: int = 12, input_size: int = 49, seed: int = 0) -> nn.Module:
    """DS-CNN with seeded weights; 23,756 parameters. `input_size` counts frames. Raises InputError."""
    with seeded(seed):
        return DSCNN(width, num_classes, input_size)
