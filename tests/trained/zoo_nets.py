"""The zoo's own MobileNetV3-Small and -Large, narrow, for images of Fashion-MNIST that are enlarged to 3 x 48 x 48."""

from __future__ import annotations

from edgeds.models.mobilenet_v3 import LARGE, SMALL, MobileNetV3

CLASSES = 10
SIZE = 48  # 2 x 2 before the global average: the nets divide by 32


class ZooMobileNetV3Small(MobileNetV3):
    """Every block of the zoo's, half as wide."""

    def __init__(self) -> None:
        super().__init__(SMALL, 1024, 0.5, CLASSES, SIZE)


class ZooMobileNetV3Large(MobileNetV3):
    """Every block of the zoo's, a quarter as wide."""

    def __init__(self) -> None:
        super().__init__(LARGE, 1280, 0.25, CLASSES, SIZE)


ZOO_NETS: tuple[type[MobileNetV3], ...] = (ZooMobileNetV3Small, ZooMobileNetV3Large)
