"""The classifiers of ncnn's benchmark without depthwise convolutions, from their architectures, in the layers that ncnn's converters give."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.ncnn_writer import Activation, Writer, inner_and_last

RELU = Activation.RELU


def resnet(blocks: tuple[int, ...], bottleneck: bool, int8: bool) -> Writer:
    """ResNet (He 2016), of two convolutions a block, or of three whose first has the stride."""
    net = Writer(224, 224)
    x = net.pool(net.conv(net.image(), 64, 7, 2, RELU, int8=inner_and_last(int8)[1]), 3, 2)
    for stage, n in enumerate(blocks):
        for k in range(n):
            x = _residual(net, x, 64 << stage, 2 if stage and not k else 1, bottleneck, int8, first=not k)
    x = net.same("Pooling", x, {0: 1, 1: 7})
    net.same("Softmax", net.linear(x, 1000))
    return net


def _residual(net: Writer, x: int, width: int, stride: int, bottleneck: bool, int8: bool, *, first: bool) -> int:
    inner, last = inner_and_last(int8)
    channels = 4 * width if bottleneck else width
    beside = net.conv(x, channels, 1, stride, int8=last) if first else x
    if bottleneck:
        y = net.conv(net.conv(x, width, 1, stride, RELU, int8=inner), width, 3, 1, RELU, int8=inner)
        y = net.conv(y, channels, int8=last)
    else:
        y = net.conv(net.conv(x, width, 3, stride, RELU, int8=inner), width, 3, int8=last)
    return net.same("ReLU", net.add(beside, y, "Eltwise"))


def squeezenet_layers(net: Writer, x: int, *, int8: bool) -> tuple[int, int]:
    """SqueezeNet 1.1 without its head: its last outputs at an eighth of the size of the image `x`, and at a sixteenth."""
    x = net.pool(net.conv(x, 64, 3, 2, RELU, pad=0, int8=inner_and_last(int8)[1]), 3, 2)
    outputs = []
    for k, (squeeze, expand) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    ):
        x = fire(net, net.pool(x, 3, 2) if k in (2, 4) else x, squeeze, expand, int8=int8)
        outputs.append(x)
    return outputs[3], outputs[7]


def fire(net: Writer, x: int, squeeze: int, expand: int, *, int8: bool) -> int:
    """A block of SqueezeNet."""
    inner, last = inner_and_last(int8)
    y = net.conv(x, squeeze, act=RELU, int8=inner)
    return net.concat(net.conv(y, expand, act=RELU, int8=last), net.conv(y, expand, 3, act=RELU, int8=last))


def squeezenet(int8: bool) -> Writer:
    """SqueezeNet 1.1 (Iandola 2016)."""
    last = inner_and_last(int8)[1]
    net = Writer(227, 227)
    _, x = squeezenet_layers(net, net.image(), int8=int8)
    x = net.conv(x, 1000, act=RELU, pad=1, int8=last)
    net.same("Softmax", net.global_average(x))
    return net


_INCEPTIONS = [
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
]


def googlenet(int8: bool) -> Writer:
    """GoogLeNet (Szegedy 2015)."""
    inner, last = inner_and_last(int8)
    net = Writer(224, 224)
    x = net.pool(net.conv(net.image(), 64, 7, 2, RELU, int8=last), 3, 2)
    x = net.conv(net.conv(_normalized(net, x), 64, act=RELU, int8=inner), 192, 3, act=RELU, int8=last)
    x = net.pool(_normalized(net, x), 3, 2)
    for k, (one, three_in, three, five_in, five, pooled) in enumerate(_INCEPTIONS):
        if k in (2, 7):
            x = net.pool(x, 3, 2)
        x = net.concat(
            net.conv(x, one, act=RELU, int8=last),
            net.conv(net.conv(x, three_in, act=RELU, int8=inner), three, 3, act=RELU, int8=last),
            net.conv(net.conv(x, five_in, act=RELU, int8=inner), five, 5, act=RELU, int8=last),
            net.conv(net.pool(x, 3, 1, pad=1), pooled, act=RELU, int8=last),
        )
    net.same("Softmax", net.linear(net.same("Pooling", x, {0: 1, 1: 7}), 1000))
    return net


def _normalized(net: Writer, x: int) -> int:
    return net.same("LRN", x, {2: "1.000000e-04"})


def alexnet() -> Writer:
    """AlexNet (Krizhevsky 2012), whose halves are groups."""
    net = Writer(227, 227)
    x = net.pool(_normalized(net, net.conv(net.image(), 96, 11, 4, RELU, pad=0)), 3, 2)
    x = net.pool(_normalized(net, net.conv(x, 256, 5, act=RELU, groups=2)), 3, 2)
    x = net.conv(x, 384, 3, act=RELU)
    x = net.conv(net.conv(x, 384, 3, act=RELU, groups=2), 256, 3, act=RELU, groups=2)
    x = net.linear(net.pool(x, 3, 2), 4096, RELU, inputs=256 * 6 * 6)
    net.same("Softmax", net.linear(net.linear(x, 4096, RELU), 1000))
    return net


def vgg16(int8: bool) -> Writer:
    """VGG-16 (Simonyan 2015)."""
    inner, last = inner_and_last(int8)
    net = Writer(224, 224)
    x = net.image()
    for channels, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for k in range(n):
            x = net.conv(x, channels, 3, act=RELU, int8=last if k == n - 1 else inner)
        x = net.pool(x, 2, 2)
    x = net.linear(x, 4096, RELU, inputs=512 * 7 * 7, int8=last)
    net.same("Softmax", net.linear(net.linear(x, 4096, RELU, int8=last), 1000, int8=last))
    return net


def regnety_400m() -> Writer:
    """RegNetY-400MF (Radosavovic 2020)."""
    net = Writer(224, 224)
    x = net.conv(net.image(), 32, 3, 2, RELU)
    for channels, n in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for k in range(n):
            squeezed = net.channels(x) // 4
            beside = x if k else net.conv(x, channels, 1, 2)
            y = net.conv(net.conv(x, channels, act=RELU), channels, 3, 1 if k else 2, RELU, groups=channels // 8)
            gate = net.linear(net.linear(net.global_average(y), squeezed, RELU), channels, Activation.SIGMOID)
            x = net.same("ReLU", net.add(beside, net.conv(net.multiply(y, gate), channels)))
    net.same("Softmax", net.linear(net.global_average(x), 1000))
    return net


def vision_transformer() -> Writer:
    """ViT-B/32 (Dosovitskiy 2021): 144 patches of an image of 384×384, and the token of the class before them."""
    width, n_tokens = 768, 145
    net = Writer(384, 384)
    image = net.image()
    class_token, places = net.constant(width, 1), net.constant(width, n_tokens)
    x = net.same("Reshape", net.conv(image, width, 32, 32, pad=0), {0: -1, 1: width})
    x = net.add(net.layer("Concat", (class_token, net.same("Permute", x, {0: 1})), width, {}), places)
    for _ in range(12):
        y = _normalized_tokens(net, x, width)
        x = net.add(x, net.layer("MultiHeadAttention", (y, y, y), width, {0: width, 1: 12, 2: width * width}))
        y = net.same("GELU", net.linear(_normalized_tokens(net, x, width), 4 * width), {0: 1})
        x = net.add(x, net.linear(y, width))
    first = net.same("Crop", _normalized_tokens(net, x, width), {-23309: "1,0", -23310: "1,1", -23311: "1,0"})
    net.same("Softmax", net.linear(first, 1000), {1: 1})
    return net


def _normalized_tokens(net: Writer, x: int, width: int) -> int:
    return net.same("LayerNorm", x, {0: width, 1: "1.000000e-06", 2: 1})


NETS: dict[str, Callable[[], Writer]] = {
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False, int8=False),
    "resnet18_int8": lambda: resnet((2, 2, 2, 2), bottleneck=False, int8=True),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True, int8=False),
    "resnet50_int8": lambda: resnet((3, 4, 6, 3), bottleneck=True, int8=True),
    "squeezenet": lambda: squeezenet(int8=False),
    "squeezenet_int8": lambda: squeezenet(int8=True),
    "googlenet": lambda: googlenet(int8=False),
    "googlenet_int8": lambda: googlenet(int8=True),
    "alexnet": alexnet,
    "vgg16": lambda: vgg16(int8=False),
    "vgg16_int8": lambda: vgg16(int8=True),
    "regnety_400m": regnety_400m,
    "vision_transformer": vision_transformer,
}
