"""The SSD and YOLO detectors of ncnn's benchmark, from their architectures, in the layers that ncnn's converters give.

What turns outputs to boxes is part of them, for it takes time too: with weights that are all zero some find every box, and others none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import ncnn_classic, ncnn_mobile
from tests.bench.ncnn_writer import Activation, Writer, inner_and_last

RELU, LEAKY = Activation.RELU, Activation.LEAKY_RELU
N_CLASSES = 21


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Default boxes of a map of features: the smallest and, unless 0, the largest, and aspect ratios, each upright and lying."""

    least: int
    most: int
    ratios: tuple[int, ...] = (2, 3)
    step: int = 0  # 0: what the sizes of image and map give

    @property
    def n(self) -> int:
        """How many boxes each place has."""
        return 1 + bool(self.most) + 2 * len(self.ratios)

    @property
    def parameters(self) -> dict[int, object]:
        """Of a PriorBox, whose image is as large as its second input."""
        found: dict[int, object] = {-23300: f"1,{self.least}.0", 9: -233, 10: -233, 13: 0.5}
        found |= {-23301: f"1,{self.most}.0"} if self.most else {}
        found |= {11: f"{self.step}.0", 12: f"{self.step}.0"} if self.step else {}
        return found | {-23302: ",".join([str(len(self.ratios)), *(f"{ratio}.0" for ratio in self.ratios)])}


_MOBILENET_BOXES = [
    _Boxes(60, 0, (2,)),
    *(_Boxes(least, least + 45) for least in (105, 150, 195, 240)),
    _Boxes(285, 300),
]
_SQUEEZENET_BOXES = [
    _Boxes(21, 45, (2,), 8),
    _Boxes(45, 99, step=16),
    _Boxes(99, 153, step=32),
    _Boxes(153, 207, step=64),
    _Boxes(207, 261, step=100),
    _Boxes(261, 315, (2,), 300),
]


def mobilenet_ssd(int8: bool) -> Writer:
    """MobileNet v1 and the single shot detector of Liu 2016, its predictions of one place each."""
    net = Writer(300, 300)
    maps = [*ncnn_mobile.mobilenet_layers(net, int8=int8, forks=True)]
    for inner, channels in ((256, 512), (128, 256), (128, 256), (64, 128)):
        maps.append(_halved(net, maps[-1], inner, channels, int8=int8))
    return _ssd(net, maps, _MOBILENET_BOXES, kernel=1, int8=int8)


def squeezenet_ssd(int8: bool) -> Writer:
    """SqueezeNet 1.1 and the single shot detector of Liu 2016."""
    net = Writer(300, 300)
    first, second = ncnn_classic.squeezenet_layers(net, net.image(), int8=int8)
    third = ncnn_classic.fire(net, net.pool(second, 3, 2), 96, 384, int8=int8)
    fourth = ncnn_classic.fire(net, net.pool(third, 3, 2), 96, 384, int8=int8)
    fifth = _halved(net, fourth, 128, 256, int8=int8)
    sixth = _halved(net, fifth, 64, 128, int8=int8)
    normalized = net.same("BatchNorm", first, {0: net.channels(first)})
    return _ssd(net, [normalized, second, third, fourth, fifth, sixth], _SQUEEZENET_BOXES, kernel=3, int8=int8)


def _halved(net: Writer, x: int, inner: int, channels: int, *, int8: bool) -> int:
    to_int8, to_float = inner_and_last(int8)
    return net.conv(net.conv(x, inner, act=RELU, int8=to_int8), channels, 3, 2, RELU, int8=to_float)


def _ssd(net: Writer, maps: Sequence[int], boxes: Sequence[_Boxes], *, kernel: int, int8: bool) -> Writer:
    image = 0
    places, classes, priors = [], [], []
    for x, of in zip(maps, boxes, strict=True):
        places.append(_flat(net, net.conv(x, 4 * of.n, kernel, int8=inner_and_last(int8)[1])))
        classes.append(_flat(net, net.conv(x, N_CLASSES * of.n, kernel, int8=inner_and_last(int8)[1])))
        priors.append(net.layer("PriorBox", (x, image), 2, of.parameters))
    found = net.same("Reshape", net.concat(*classes), {0: N_CLASSES, 1: -1})
    found = net.same("Flatten", net.same("Softmax", found, {0: 1, 1: 1}))
    inputs = (net.concat(*places), found, net.layer("Concat", tuple(priors), 2, {0: 1}))
    net.layer("DetectionOutput", inputs, 6, {0: N_CLASSES, 1: 0.45, 2: 100, 4: 0.25})
    return net


def _flat(net: Writer, x: int) -> int:
    return net.same("Flatten", net.same("Permute", x, {0: 3}))


def mobilenet_yolo() -> Writer:
    """MobileNet v1 and YOLO v2 (Redmon 2016) of two sizes of maps."""
    net = Writer(416, 416)
    middle, x = ncnn_mobile.mobilenet_layers(net)
    x = net.conv(net.depthwise(x, 3, act=RELU), 1024, act=RELU)
    y = net.layer("DeconvolutionDepthWise", (x,), 512, {0: 512, 1: 4, 3: 2, 4: 1, 6: 1024 * 4 * 4, 7: 512})
    y = net.conv(net.depthwise(net.add(middle, y, "Eltwise"), 3, act=RELU), 1024, act=RELU)
    anchors = "10,1.08,1.19,3.42,4.41,6.63,11.38,9.42,5.11,16.62,10.52"
    net.layer("YoloDetectionOutput", (net.conv(x, 125), net.conv(y, 125)), 6, {2: 0.4, -23304: anchors})
    return net


def mobilenetv2_yolov3() -> Writer:
    """MobileNet v2 and YOLO v3 (Redmon 2018) of two sizes of maps."""
    net = Writer(352, 352)
    x = net.conv(net.depthwise(net.conv(net.image(), 32, 3, 2, RELU), 3, 1, RELU), 16)
    middle = x
    for channels, wide, stride in ncnn_mobile.V2_BLOCKS:
        x, expanded = ncnn_mobile.v2_block(net, x, channels, wide, stride)
        middle = expanded if stride == 2 else middle
    x = net.conv(net.depthwise(net.conv(x, 1280, act=RELU), 3, 1, RELU), 576, act=RELU)
    y = net.layer("DeconvolutionDepthWise", (x,), 576, {0: 576, 1: 1, 3: 2, 6: 576, 7: 576})
    y = net.pool(y, 2, 1, pad=1)
    y = net.add(y, net.conv(net.depthwise(middle, 3, 1, RELU), 576, act=RELU), "Eltwise")
    y = net.conv(net.depthwise(y, 3, 1, RELU), 576, act=RELU)
    anchors = "12,20.0,37.0,49.0,94.0,73.0,201.0,143.0,265.0,153.0,121.0,280.0,279.0"
    return yolo_v3(net, (net.conv(x, 75), net.conv(y, 75)), anchors, (3, 4, 5, 0, 1, 2), (32, 16), {1: 3, 2: 0.3})


# Numbers of anchors in a YOLO v3's output: ncnn's files have the bits of floats there, and ncnn reads them as such.
_BITS = {0: 0, 1: 1065353216, 2: 1073741824, 3: 1077936128, 4: 1082130432, 5: 1084227584}


def yolo_v3(
    net: Writer,
    outputs: tuple[int, int],
    anchors: str,
    masks: tuple[int, ...],
    scales: tuple[float, float],
    more: dict[int, object],
) -> Writer:
    """Ends `net` with what makes boxes of two maps."""
    mask = ",".join([str(len(masks)), *(str(_BITS[n]) for n in masks)])
    scale = f"2,{float(scales[0])},{float(scales[1])}"
    net.layer("Yolov3DetectionOutput", outputs, 6, {**more, -23304: anchors, -23305: mask, -23306: scale})
    return net


def yolov4_tiny() -> Writer:
    """YOLO v4 tiny (Wang 2021)."""
    net = Writer(416, 416)
    x = net.conv(net.image(), 32, 3, 2, LEAKY)
    middle = x = net.conv(x, 64, 3, 2, LEAKY)
    for channels, size in ((64, 104), (128, 52), (256, 26)):
        x, middle = _partial_stage(net, x, channels, size)
    x = net.conv(net.conv(x, 512, 3, act=LEAKY), 256, act=LEAKY)
    large = net.conv(net.conv(x, 512, 3, act=LEAKY), 255)
    y = net.same("Interp", net.conv(x, 128, act=LEAKY), {0: 1, 1: "2.0", 2: "2.0"})
    small = net.conv(net.conv(net.concat(y, middle), 256, 3, act=LEAKY), 255)
    anchors = "12,10.0,14.0,23.0,27.0,37.0,58.0,81.0,82.0,135.0,169.0,344.0,319.0"
    return yolo_v3(net, (large, small), anchors, (3, 4, 5, 1, 2, 3), (33.6, 16.8), {0: 80, 1: 3, 2: 0.3})


def _partial_stage(net: Writer, x: int, channels: int, size: int) -> tuple[int, int]:
    """A stage across which half of the channels go, and what a later one takes from it."""
    half = channels // 2
    x = net.conv(x, channels, 3, act=LEAKY)
    y = net.layer("Crop", (x,), half, {2: half, 3: size, 4: size, 5: half})
    y = net.conv(y, half, 3, act=LEAKY)
    taken = net.conv(net.concat(net.conv(y, half, 3, act=LEAKY), y), channels, act=LEAKY)
    return net.same("Pooling", net.concat(x, taken), {1: 2, 2: 2, 14: 1, 15: 1, 5: 1}), taken


NETS: dict[str, Callable[[], Writer]] = {
    "mobilenet_ssd": lambda: mobilenet_ssd(int8=False),
    "mobilenet_ssd_int8": lambda: mobilenet_ssd(int8=True),
    "squeezenet_ssd": lambda: squeezenet_ssd(int8=False),
    "squeezenet_ssd_int8": lambda: squeezenet_ssd(int8=True),
    "mobilenet_yolo": mobilenet_yolo,
    "mobilenetv2_yolov3": mobilenetv2_yolov3,
    "yolov4-tiny": yolov4_tiny,
}
