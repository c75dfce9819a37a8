"""The preprocessing that is assumed for a model that says nothing about its own."""

from __future__ import annotations

from edgeds.data.images import photo_size
from edgeds.data.samples import shape_text
from edgeds.errors import DataError
from edgeds.spec import ColorOrder, Preprocess

# of ImageNet's training photos, as torchvision's and most published weights were trained with
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def assume_preprocess(input_shape: tuple[int, ...]) -> Preprocess:
    """For [1, 3, H, W] ImageNet's mean and std, for [1, 1, H, W] grey at mean 0.5 and std 0.5; bilinear.

    The short side is resized to 256/224 of the input's larger side, so that every crop fits. Whoever uses it must show
    `assumed_warning`. Raises DataError for a shape that is no image.
    """
    size = photo_size((input_shape,))
    if size is None:
        raise DataError(
            f"an input of shape {shape_text((input_shape,))} is no image; give a .npz or .npy file of inputs"
        )
    resize = round(max(size.height, size.width) * 256 / 224)
    if size.channels == 1:
        return Preprocess(resize, (0.5,), (0.5,), color_order=ColorOrder.GRAY)
    return Preprocess(resize, IMAGENET_MEAN, IMAGENET_STD)


def assumed_warning(preprocess: Preprocess) -> str:
    """What was assumed, and which flags change it."""
    mean, std = (",".join(f"{v:g}" for v in values) for values in (preprocess.mean, preprocess.std))
    return (
        f"the model says not how its photos are prepared: assumed --mean {mean} --std {std} --resize {preprocess.resize} "
        f"--interpolation {preprocess.interpolation} --color-order {preprocess.color_order}; wrong values cost accuracy, "
        f"so give those flags as the model was trained"
    )
