"""The networks of ncnn's benchmark that have depthwise convolutions, from their architectures, in the layers that ncnn's converters give."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.ncnn_writer import SAME, Activation, Int8, Writer

RELU, SIGMOID = Activation.RELU, Activation.SIGMOID


def mobilenet_layers(net: Writer, *, int8: bool = False, forks: bool = False) -> tuple[int, int]:
    """MobileNet v1 without its head: its last outputs at a sixteenth of the size, and at a thirty-second.

    Where the net `forks`, others than the next layer read the first of the two too: in int8 it is left in floating point for them.
    """
    pointwise, depthwise, last = (
        (Int8.TO_INT8, Int8.DEPTHWISE_TO_INT8, Int8.TO_FLOAT) if int8 else (Int8.NO, Int8.NO, Int8.NO)
    )
    x = net.conv(net.image(), 32, 3, 2, RELU, int8=pointwise)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    outputs = []
    for k, (channels, stride) in enumerate(plan):
        is_read_as_float = k == len(plan) - 1 or (forks and k == len(plan) - 3)
        x = net.depthwise(x, 3, stride, RELU, int8=depthwise)
        x = net.conv(x, channels, act=RELU, int8=last if is_read_as_float else pointwise)
        outputs.append(x)
    return outputs[-3], outputs[-1]


def mobilenet(int8: bool = False) -> Writer:
    """MobileNet v1 (Howard 2017)."""
    net = Writer(224, 224)
    _, x = mobilenet_layers(net, int8=int8)
    return _classified(net, net.global_average(x), int8=Int8.TO_FLOAT if int8 else Int8.NO)


# Of MobileNet v2, as of Caffe: channels, those that a block expands to, and its stride.
V2_BLOCKS = [(24, 96, 2), (24, 144, 1), (32, 144, 2), (32, 192, 1), (32, 192, 1), (64, 192, 2), *[(64, 384, 1)] * 3]
V2_BLOCKS += [(96, 384, 1), *[(96, 576, 1)] * 2, (160, 576, 2), *[(160, 960, 1)] * 2, (320, 960, 1)]


def v2_block(net: Writer, x: int, channels: int, wide: int, stride: int) -> tuple[int, int]:
    """The output of an inverted residual, and what it expands its input to."""
    expanded = net.conv(x, wide, act=RELU)
    y = net.conv(net.depthwise(expanded, 3, stride, RELU), channels)
    return (net.add(x, y, "Eltwise") if stride == 1 and net.channels(x) == channels else y), expanded


def mobilenet_v2() -> Writer:
    """MobileNet v2 (Sandler 2018) as of Caffe, where the first block expands too."""
    net = Writer(224, 224)
    x = net.conv(net.image(), 32, 3, 2, RELU)
    for channels, wide, stride in [(16, 32, 1), *V2_BLOCKS]:
        x, _ = v2_block(net, x, channels, wide, stride)
    return _classified(net, net.global_average(net.conv(x, 1280, act=RELU)))


def _inverted(net: Writer, x: int, channels: int, wide: int, kernel: int, stride: int) -> int:
    y = net.conv(net.depthwise(net.conv(x, wide, act=RELU), kernel, stride, RELU), channels)
    return net.add(x, y) if stride == 1 and net.channels(x) == channels else y


def mnasnet() -> Writer:
    """MnasNet-B1 (Tan 2019)."""
    net = Writer(224, 224)
    x = net.conv(net.depthwise(net.conv(net.image(), 32, 3, 2, RELU), 3, 1, RELU), 16)
    plan = [
        (24, 3, 3, 2, 3),
        (40, 3, 5, 2, 3),
        (80, 6, 5, 2, 3),
        (96, 6, 3, 1, 2),
        (192, 6, 5, 2, 4),
        (320, 6, 3, 1, 1),
    ]
    for channels, times, kernel, stride, n in plan:
        for k in range(n):
            x = _inverted(net, x, channels, times * net.channels(x), kernel, 1 if k else stride)
    return _pooled_by_window(net, x)


def proxylessnasnet() -> Writer:
    """ProxylessNAS-mobile (Cai 2019), whose first block has 32 outputs in ncnn's file, and not 16."""
    net = Writer(224, 224)
    x = net.conv(net.depthwise(net.conv(net.image(), 32, 3, 2, RELU), 3, 1, RELU), 32)
    blocks = "32:48:5:2 32:96:3 40:96:7:2 40:120:3 40:120:5 40:120:5 80:240:7:2 80:240:5 80:240:5 80:240:5 96:480:5 "
    blocks += "96:288:5 96:288:5 96:288:5 192:576:7:2 192:1152:7 192:576:7 192:576:7 320:1152:7"
    for block in blocks.split():
        channels, wide, kernel, stride = [*map(int, block.split(":")), 1][:4]
        x = _inverted(net, x, channels, wide, kernel, stride)
    return _pooled_by_window(net, x)


def _pooled_by_window(net: Writer, x: int) -> Writer:
    x = net.conv(x, 1280, act=RELU)
    return _classified(net, net.same("Pooling", x, {0: 1, 1: 7, 4: 1, 5: 1}))


def mobilenet_v3() -> Writer:
    """MobileNet v3 large (Howard 2019)."""
    net = Writer(224, 224)
    x = net.conv(net.image(), 16, 3, 2)
    x = net.multiply(x, net.same("HardSigmoid", x))
    x = net.add(x, net.conv(net.depthwise(x, 3, 1, RELU), 16))
    for channels, wide, kernel, stride, squeezes, swish in _V3:
        y = _v3_block(net, x, channels, wide, kernel, stride, squeezes=squeezes, act="HardSwish" if swish else "ReLU")
        x = net.add(x, y) if stride == 1 and net.channels(x) == channels else y
    x = net.same("HardSwish", net.global_average(net.same("HardSwish", net.conv(x, 960))))
    x = net.linear(net.same("Reshape", x, {0: -1}), 1280)
    return _classified(net, net.same("HardSwish", x))


_V3 = [
    (24, 64, 3, 2, False, False),
    (24, 72, 3, 1, False, False),
    (40, 72, 5, 2, True, False),
    (40, 120, 5, 1, True, False),
    (40, 120, 5, 1, True, False),
    (80, 240, 3, 2, False, True),
    (80, 200, 3, 1, False, True),
    (80, 184, 3, 1, False, True),
    (80, 184, 3, 1, False, True),
    (112, 480, 3, 1, True, True),
    (112, 672, 3, 1, True, True),
    (160, 672, 5, 1, True, True),
    (160, 672, 5, 2, True, True),
    (160, 960, 5, 1, True, True),
]


def _v3_block(
    net: Writer, x: int, channels: int, wide: int, kernel: int, stride: int, *, squeezes: bool, act: str
) -> int:
    fused = RELU if act == "ReLU" else Activation.NONE
    x = net.conv(x, wide, act=fused)
    x = net.same(act, x) if act != "ReLU" else x
    x = net.depthwise(x, kernel, stride, Activation.NONE if squeezes else fused)
    if squeezes:
        gate = net.linear(net.linear(net.global_average(x), wide // 4, RELU), wide)
        x = net.multiply(x, net.same("HardSigmoid", gate))
    x = net.same(act, x) if squeezes or act != "ReLU" else x
    return net.conv(x, channels)


def efficientnet_b0() -> Writer:
    """EfficientNet-B0 (Tan 2019)."""
    net = Writer(224, 224)
    x = net.same("Swish", net.conv(net.image(), 32, 3, 2))
    plan = [(16, 1, 3, 1, 1), (24, 6, 3, 2, 2), (40, 6, 5, 2, 2), (80, 6, 3, 2, 3), (112, 6, 5, 1, 3)]
    plan += [(192, 6, 5, 2, 4), (320, 6, 3, 1, 1)]
    for channels, times, kernel, stride, n in plan:
        for k in range(n):
            y = _b0_block(net, x, channels, times, kernel, 1 if k else stride)
            x = net.add(x, y) if k else y
    x = net.same("Swish", net.conv(x, 1280))
    return _classified(net, net.global_average(x))


def _b0_block(net: Writer, x: int, channels: int, times: int, kernel: int, stride: int) -> int:
    narrow = net.channels(x)
    if times > 1:
        x = net.same("Swish", net.conv(x, times * narrow))
    x = net.same("Swish", net.depthwise(x, kernel, stride))
    gate = net.same("Swish", net.linear(net.global_average(x), narrow // 4))
    x = net.multiply(x, net.conv(gate, net.channels(x), act=SIGMOID))
    return net.conv(x, channels)


def efficientnetv2_b0() -> Writer:
    """EfficientNetV2-B0 (Tan 2021) as of TensorFlow. Where a block adds its input, the bias of its last layer is added after that."""
    net = Writer(224, 224)
    x = net.same("Swish", net.conv(net.image(), 32, 3, 2, pad=SAME))
    x = net.same("Swish", net.conv(x, 16, 3, pad=SAME))
    plan = [(32, 4, 2, 2, False), (48, 4, 2, 2, False), (96, 4, 2, 3, True), (112, 6, 1, 5, True), (192, 6, 2, 8, True)]
    for channels, times, stride, n, is_depthwise in plan:
        for k in range(n):
            y = _b0_v2_inner(net, x, times * net.channels(x), 1 if k else stride, is_depthwise=is_depthwise)
            y = net.conv(y, channels, pad=SAME, bias=k == 0)
            x = net.add(net.add(x, y, "Eltwise"), net.constant(channels)) if k else y
    x = net.global_average(net.same("Swish", net.conv(x, 1280, pad=SAME)))
    net.linear(x, 1000)
    return net


def _b0_v2_inner(net: Writer, x: int, wide: int, stride: int, *, is_depthwise: bool) -> int:
    if not is_depthwise:
        return net.same("Swish", net.conv(x, wide, 3, stride, pad=SAME))
    y = net.same("Swish", net.conv(x, wide, pad=SAME))
    y = net.same("Swish", net.depthwise(y, 3, stride, pad=SAME))
    mean = net.same("Reduction", y, {0: 3, 4: 1, 5: 1, -23303: "2,1,2"})
    gate = net.same("Swish", net.conv(mean, net.channels(x) // 4, pad=SAME))
    return net.multiply(y, net.conv(gate, wide, act=SIGMOID, pad=SAME))


def shufflenet() -> Writer:
    """ShuffleNet v1 with three groups (Zhang 2018)."""
    net = Writer(224, 224)
    x = net.pool(net.conv(net.image(), 24, 3, 2, RELU), 3, 2)
    for channels, n in ((240, 4), (480, 8), (960, 4)):
        for k in range(n):
            x = _shuffle_block(net, x, channels, 1 if k else 2)
    return _classified(net, net.global_average(x))


def _shuffle_block(net: Writer, x: int, channels: int, stride: int) -> int:
    first = net.channels(x) == 24
    added = channels - net.channels(x) if stride == 2 else channels
    beside = net.pool(x, 3, 2, average=True) if stride == 2 else x
    y = net.conv(x, 54 if first else net.channels(x) // 4, act=RELU, groups=1 if first else 3)
    y = y if first else net.same("ShuffleChannel", y, {0: 3})
    y = net.conv(net.depthwise(y, 3, stride), added, groups=3)
    return net.same("ReLU", net.concat(beside, y) if stride == 2 else net.add(beside, y, "Eltwise"))


def shufflenet_v2() -> Writer:
    """ShuffleNet v2 (Ma 2018)."""
    net = Writer(224, 224)
    x = net.pool(net.conv(net.image(), 24, 3, 2, RELU), 3, 2)
    for channels, n in ((58, 4), (116, 8), (232, 4)):
        beside = net.conv(net.depthwise(x, 3, 2), channels, act=RELU)
        x = _shuffled(net, beside, shuffle_branch(net, x, channels, 2))
        for _ in range(n - 1):
            beside, y = net.halves(x)
            x = _shuffled(net, beside, shuffle_branch(net, y, channels, 1))
    x = net.conv(x, 1024, act=RELU)
    return _classified(net, net.global_average(x))


def shuffle_branch(net: Writer, x: int, channels: int, stride: int, act: Activation = RELU) -> int:
    """The convolutions of a block of ShuffleNet v2."""
    return net.conv(net.depthwise(net.conv(x, channels, act=act), 3, stride), channels, act=act)


def _shuffled(net: Writer, a: int, b: int) -> int:
    return net.same("ShuffleChannel", net.concat(a, b), {0: 2})


def _classified(net: Writer, x: int, int8: Int8 = Int8.NO) -> Writer:
    net.same("Softmax", net.linear(x, 1000, int8=int8))
    return net


NETS: dict[str, Callable[[], Writer]] = {
    "mobilenet": mobilenet,
    "mobilenet_int8": lambda: mobilenet(int8=True),
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "mnasnet": mnasnet,
    "proxylessnasnet": proxylessnasnet,
    "efficientnet_b0": efficientnet_b0,
    "efficientnetv2_b0": efficientnetv2_b0,
    "shufflenet": shufflenet,
    "shufflenet_v2": shufflenet_v2,
}
