"""The DS-CNN of the quantization bench: the zoo's, on Fashion-MNIST's images and trained on them, from edgeds' cache once it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from edgeds.cache import Cache, digest
from edgeds.models.ds_cnn import DSCNN
from edgeds.spec import Model
from tests.trained import fashion, training

CLASSES = 10
STEPS = 2000  # 4.3 epochs
CALIBRATION = 96  # images of the training set


def fashion_ds_cnn(folder: Path) -> tuple[Model, Path, Path]:
    """The trained model, and in `folder` 96 training images to calibrate on and the 10,000 test images."""
    data = fashion.fashion_mnist()
    calibration, validation = folder / "calibration.npy", folder / "validation.npy"
    np.save(calibration, data.train.images[:CALIBRATION])
    np.save(validation, data.test.images)
    code = Path(training.__file__).read_bytes()
    with Cache() as store:
        place = store.get_or_make("trained", digest(code, torch.__version__, f"ds_cnn {STEPS}"), _train)
        module = _net()
        module.load_state_dict(load_file(place / "ds_cnn.safetensors"))
    return Model("ds_cnn", module.eval(), ((1, 1, 28, 28),), "trained on Fashion-MNIST"), calibration, validation


def _net() -> torch.nn.Module:
    return DSCNN(1.0, CLASSES, 49)


def _train(folder: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order are other sums
    module = training.train(_net, fashion.fashion_mnist().train, STEPS)  # type: ignore[arg-type]  # what makes a net, as a class does
    torch.set_num_threads(threads)
    save_file(module.state_dict(), folder / "ds_cnn.safetensors")
