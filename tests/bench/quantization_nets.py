"""The DS-CNN of the quantization bench: the zoo's, trained on Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from edgeds.spec import Model
from tests.trained.ds_cnn import WEIGHTS, FashionDSCNN
from tests.trained.fashion import fashion_mnist

CALIBRATION = 96  # images of the training set


def fashion_ds_cnn(folder: Path) -> tuple[Model, Path, Path]:
    """The trained model, and in `folder` 96 training images to calibrate on and the 10,000 test images."""
    data = fashion_mnist()
    calibration, validation = folder / "calibration.npy", folder / "validation.npy"
    np.save(calibration, data.train.images[:CALIBRATION])
    np.save(validation, data.test.images)
    module = FashionDSCNN()
    module.load_state_dict(load_file(WEIGHTS))
    return Model("ds_cnn", module.eval(), (module.input_shape,), "trained on Fashion-MNIST"), calibration, validation
