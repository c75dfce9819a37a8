"""The zoo's DS-CNN, trained on Fashion-MNIST: its weights lie beside this file, which made them; ds_cnn.md is their card.

python -m tests.trained.ds_cnn FILE.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from edgeds.models.ds_cnn import DSCNN

WEIGHTS = Path(__file__).with_name("ds_cnn.safetensors")
CLASSES = 10
STEPS = 2000  # 4.3 epochs


class FashionDSCNN(DSCNN):
    """DS-CNN of width 1 for images of 1 x 28 x 28 and 10 classes."""

    def __init__(self) -> None:
        super().__init__(1.0, CLASSES, 49)
        self.input_shape = (1, 1, 28, 28)


def main() -> None:
    """Trains the net and writes its weights."""
    from tests.trained.fashion import fashion_mnist
    from tests.trained.training import train

    (file,) = sys.argv[1:]
    torch.set_num_threads(1)  # sums in another order are other sums
    save_file(train(FashionDSCNN, fashion_mnist().train, STEPS).state_dict(), file)


if __name__ == "__main__":
    main()
