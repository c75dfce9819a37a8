"""The detectors of ncnn's benchmark for small devices, from their architectures, in the layers that ncnn's converters give."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.ncnn_detectors import yolo_v3
from tests.bench.ncnn_mobile import shuffle_branch
from tests.bench.ncnn_writer import Activation, Writer

RELU, LEAKY, SIGMOID, NONE = Activation.RELU, Activation.LEAKY_RELU, Activation.SIGMOID, Activation.NONE
_TWICE: dict[int, object] = {0: 1, 1: "2.0", 2: "2.0"}  # each value once more in both directions


def blazeface() -> Writer:
    """BlazeFace (Bazarevsky 2019) without its predictions."""
    net = Writer(128, 128)
    padded = net.same("Padding", net.image(), {0: 1, 1: 2, 2: 1, 3: 2})
    x = net.same("ReLU", net.conv(padded, 24, 5, 2, pad=0))
    halving = (32, 48, 96)
    for channels in (24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, 96, 96, 96, 96, 96):
        stride = 2 if channels in halving and channels != net.channels(x) else 1
        x = _face_block(net, x, channels, stride)
    return net


def _face_block(net: Writer, x: int, channels: int, stride: int) -> int:
    added = channels - net.channels(x)
    if stride == 2:
        y = net.depthwise(net.same("Padding", x, {1: 2, 3: 2}), 3, 2, pad=0)
        x = net.same("Pooling", x, {1: 2, 2: 2, 5: 1})
    else:
        y = net.depthwise(x, 3)
    x = net.layer("Padding", (x,), channels, {8: added}) if added else x
    return net.same("ReLU", net.add(net.conv(y, channels), x))


def nanodet_m() -> Writer:
    """NanoDet-m (RangiLyu 2020): ShuffleNet v2, a pyramid of three sizes, and predictions without anchors."""
    net = Writer(320, 320)
    x = net.same("Pooling", net.conv(net.image(), 24, 3, 2, LEAKY), {1: 3, 2: 2, 3: 1, 5: 1})
    maps = []
    for channels, n in ((58, 4), (116, 8), (232, 4)):
        beside = net.conv(net.depthwise(x, 3, 2), channels, act=LEAKY)
        x = net.concat(beside, shuffle_branch(net, x, channels, 2, LEAKY))
        for _ in range(n - 1):
            y = _shuffled(net, x)
            first, second = _cropped(net, y, channels, 0), _cropped(net, y, channels, 1)
            x = net.concat(first, shuffle_branch(net, second, channels, 1, LEAKY))
        x = _shuffled(net, x)
        maps.append(x)
    outputs = [_head(net, y) for y in _pyramid(net, [net.conv(y, 96) for y in maps])]
    net.layer("Noop", tuple(one[k] for k in (0, 1) for one in outputs), 80, {})
    return net


def _shuffled(net: Writer, x: int) -> int:
    return net.same("ShuffleChannel", x, {0: 2})


def _cropped(net: Writer, x: int, channels: int, k: int) -> int:
    """Half of the channels, the first (0) or the second (1)."""
    ends = {-23309: f"1,{k * channels}", -23310: f"1,{(k + 1) * channels}", -23311: "1,0"}
    return net.layer("Crop", (x,), channels, ends)


def _pyramid(net: Writer, maps: list[int]) -> list[int]:
    """Each map, the largest first, with the next smaller one added, and then with the next larger one."""
    small = maps[2]
    middle = net.add(maps[1], _resized(net, small, 2.0))
    large = net.add(maps[0], _resized(net, middle, 2.0))
    middle = net.add(middle, _resized(net, large, 0.5))
    return [large, middle, net.add(small, _resized(net, middle, 0.5))]


def _resized(net: Writer, x: int, scale: float) -> int:
    return net.same("Interp", x, {0: 2, 1: scale, 2: scale})


def _head(net: Writer, x: int) -> tuple[int, int]:
    """Of classes and of places."""
    for _ in range(2):
        x = net.conv(net.depthwise(x, 3, 1, LEAKY), 96, act=LEAKY)
    classes, places = net.slices(net.conv(x, 112), 80)
    rows = [net.same("Reshape", y, {0: -1, 1: n}) for y, n in ((net.same("Sigmoid", classes), 80), (places, 32))]
    return net.same("Permute", rows[0], {0: 1}), net.same("Permute", rows[1], {0: 1})


def yolo_fastest() -> Writer:
    """Yolo-Fastest 1.1 (dog-qiuqiu 2021)."""
    net = Writer(320, 320)
    x = net.conv(net.image(), 8, 3, 2, LEAKY)
    plan = [(8, 4, 1), (8, 4, 1), (24, 8, 2), *[(32, 8, 1)] * 2, (32, 8, 2), *[(48, 8, 1)] * 2, (48, 16, 1)]
    plan += [*[(96, 16, 1)] * 4, (96, 24, 2), *[(136, 24, 1)] * 4, (136, 48, 2), *[(224, 48, 1)] * 5]
    middle = x
    for wide, channels, stride in plan:
        middle = x if stride == 2 else middle  # at last a sixteenth of the size
        x = _leaky_inverted(net, x, wide, channels, stride)
    pooled = [net.same("Pooling", x, {1: n, 3: n // 2, 5: 1}) for n in (3, 5, 9)]
    x = net.conv(net.concat(*reversed(pooled), x), 96, act=LEAKY)
    large = net.conv(_separable_twice(net, x, LEAKY), 255)
    y = net.concat(net.same("Interp", x, _TWICE), middle)
    small = net.conv(_separable_twice(net, y, LEAKY), 255)
    anchors = "12,12.0,18.0,37.0,49.0,52.0,132.0,115.0,73.0,119.0,199.0,242.0,238.0"
    return yolo_v3(net, (large, small), anchors, (3, 4, 5, 0, 1, 2), (32, 16), {0: 80, 1: 3, 2: 0.55})


def _leaky_inverted(net: Writer, x: int, wide: int, channels: int, stride: int) -> int:
    y = net.conv(net.depthwise(net.conv(x, wide, act=LEAKY), 3, stride, LEAKY), channels)
    return net.add(y, x, "Eltwise") if stride == 1 and net.channels(x) == channels else y


def _separable_twice(net: Writer, x: int, act: Activation) -> int:
    for _ in range(2):
        x = net.conv(net.depthwise(x, 5, 1, act), net.channels(x))
    return x


def _light_shufflenet(net: Writer) -> list[int]:
    """ShuffleNet v2 of the Yolo-Fastest family: its outputs at an eighth, a sixteenth and a thirty-second of the size."""
    x = net.same("Pooling", net.conv(net.image(), 24, 3, 2, RELU), {1: 3, 2: 2, 3: 1, 5: 1})
    outputs = []
    for channels, n in ((24, 4), (48, 8), (96, 4)):
        x = net.concat(net.conv(net.depthwise(x, 3, 2), channels, act=RELU), shuffle_branch(net, x, channels, 2))
        for _ in range(n - 1):
            first, second = net.halves(net.same("ShuffleChannel", x, {0: 2, 1: 1}))
            x = net.concat(first, shuffle_branch(net, second, channels, 1))
        outputs.append(x)
    return outputs


def yolo_fastestv2() -> Writer:
    """Yolo-FastestV2 (dog-qiuqiu 2021)."""
    net = Writer(352, 352)
    _, middle, last = _light_shufflenet(net)
    small = net.conv(last, 72, act=RELU)
    large = net.conv(net.concat(net.same("Interp", last, _TWICE), middle), 72, act=RELU)
    net.layer("Noop", tuple(_boxes_and_classes(net, x) for x in (large, small)), 95, {})
    return net


def _boxes_and_classes(net: Writer, x: int) -> int:
    of_classes, of_boxes = _separable_twice(net, x, RELU), _separable_twice(net, x, RELU)
    boxes, objects = net.conv(of_boxes, 12, act=SIGMOID), net.conv(of_classes, 3, act=SIGMOID)
    classes = net.same("Softmax", net.same("Permute", net.conv(of_classes, 80), {0: 5}), {0: 2, 1: 1})
    return net.same("Permute", net.concat(boxes, objects, net.same("Permute", classes, {0: 5})), {0: 3})


def fastest_det() -> Writer:
    """FastestDet (dog-qiuqiu 2022)."""
    net = Writer(352, 352)
    first, middle, last = _light_shufflenet(net)
    pooled = net.same("Pooling", first, {0: 1, 1: 3, 2: 2, 3: 1, 5: 1, 6: 1})
    x = net.conv(net.concat(pooled, middle, net.same("Interp", last, {**_TWICE, 6: 0})), 96, act=RELU)
    x = net.conv(_pooled_pyramid(net, x), 96, act=RELU)
    classes, places, objects = (
        net.conv(net.depthwise(x, 5, 1, RELU), n, act=act) for n, act in ((80, NONE), (4, NONE), (1, SIGMOID))
    )
    net.concat(objects, places, net.same("Softmax", classes, {1: 1}))
    return net


def _pooled_pyramid(net: Writer, x: int) -> int:
    """One, two and three depthwise convolutions of 5×5 side by side, as if each looked that far."""
    reached = []
    for n in (1, 2, 3):
        y = x
        for _ in range(n):
            y = net.depthwise(y, 5, 1, RELU)
        reached.append(y)
    return net.same("ReLU", net.add(x, net.conv(net.concat(*reached), 96)))


NETS: dict[str, Callable[[], Writer]] = {
    "blazeface": blazeface,
    "nanodet_m": nanodet_m,
    "yolo-fastest-1.1": yolo_fastest,
    "yolo-fastestv2": yolo_fastestv2,
    "FastestDet": fastest_det,
}
