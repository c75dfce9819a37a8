"""Writes networks in ncnn's text format, layer by layer. Numbers of parameters are those of ncnn's documentation (operators.md).

7767517                                the format's magic number
N_LAYERS N_BLOBS
KIND NAME N_INPUTS N_OUTPUTS inputs... outputs... NUMBER=VALUE...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

MAGIC = "7767517"
SAME = -233  # as `pad`: what TensorFlow calls by that name
_SLOPE = "1,0.1"  # of leaky ReLUs, as an array of one number


class Activation(IntEnum):
    """What a layer applies to its own output."""

    NONE = 0
    RELU = 1
    LEAKY_RELU = 2
    SIGMOID = 4


class Int8(IntEnum):
    """How a convolution computes: in floating point, or in int8 with an output in floating point, or in int8."""

    NO = 0
    TO_FLOAT = 2
    TO_INT8 = 102
    DEPTHWISE_TO_INT8 = 101


def inner_and_last(int8: bool) -> tuple[Int8, Int8]:
    """How a convolution computes that another one reads, and how one does that something else reads."""
    return (Int8.TO_INT8, Int8.TO_FLOAT) if int8 else (Int8.NO, Int8.NO)


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: str


@dataclass(slots=True)
class Writer:
    """A network under construction. Blobs are numbers; `_channels` has the channels of each."""

    width: int
    height: int
    _layers: list[_Layer] = field(default_factory=list)
    _channels: list[int] = field(default_factory=list)

    def image(self) -> int:
        """The input: three channels."""
        return self.layer("Input", (), 3, {0: self.width, 1: self.height, 2: 3})

    def layer(self, kind: str, inputs: tuple[int, ...], channels: int, parameters: Mapping[int, object]) -> int:
        """A layer with one output of `channels` channels; parameters that are ncnn's defaults are left out by the caller."""
        return self._add(kind, inputs, (channels,), parameters)[0]

    def conv(
        self,
        x: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        act: Activation = Activation.NONE,
        *,
        groups: int = 1,
        pad: int | None = None,
        bias: bool = True,
        int8: Int8 = Int8.NO,
    ) -> int:
        """A convolution; `pad` is what keeps the size at stride 1 unless it is given."""
        pad = kernel // 2 if pad is None else pad
        n_weights = channels * self._channels[x] // groups * kernel * kernel
        settings: dict[int, object] = {0: channels, 1: kernel, 3: _unless(stride, 1), 4: _unless(pad, 0)}
        settings |= {5: _unless(bias, 0), 6: n_weights, 7: _unless(groups, 1), 8: _unless(int8, 0), 9: _unless(act, 0)}
        settings |= {-23310: _SLOPE} if act is Activation.LEAKY_RELU else {}
        return self.layer("ConvolutionDepthWise" if groups > 1 else "Convolution", (x,), channels, settings)

    def depthwise(
        self,
        x: int,
        kernel: int,
        stride: int = 1,
        act: Activation = Activation.NONE,
        *,
        pad: int | None = None,
        int8: Int8 = Int8.NO,
    ) -> int:
        """A convolution of each channel by itself."""
        channels = self._channels[x]
        return self.conv(x, channels, kernel, stride, act, groups=channels, pad=pad, int8=int8)

    def linear(
        self,
        x: int,
        features: int,
        act: Activation = Activation.NONE,
        *,
        inputs: int | None = None,
        int8: Int8 = Int8.NO,
    ) -> int:
        """A fully connected layer of `inputs` numbers, by default one a channel."""
        n_weights = (inputs or self._channels[x]) * features
        settings = {0: features, 1: 1, 2: n_weights, 8: _unless(int8, 0), 9: _unless(act, 0)}
        return self.layer("InnerProduct", (x,), features, settings)

    def pool(self, x: int, kernel: int, stride: int, *, average: bool = False, pad: int = 0) -> int:
        """The maximum or the average of a window; the last may be cut off at the border."""
        return self.same("Pooling", x, {0: _unless(average, 0), 1: kernel, 2: _unless(stride, 1), 3: _unless(pad, 0)})

    def global_average(self, x: int) -> int:
        """One number a channel."""
        return self.same("Pooling", x, {0: 1, 4: 1})

    def same(self, kind: str, x: int, parameters: Mapping[int, object] | None = None) -> int:
        """A layer of one input that keeps its channels."""
        return self.layer(kind, (x,), self._channels[x], parameters or {})

    def add(self, a: int, b: int, kind: str = "BinaryOp") -> int:
        """The sum, as one of the two kinds of layers that can add."""
        return self.layer(kind, (a, b), self._channels[a], {0: 1} if kind == "Eltwise" else {})

    def constant(self, *sizes: int) -> int:
        """Numbers that are the network's own, like weights: of `sizes` columns, rows."""
        return self.layer("MemoryData", (), sizes[-1], dict(enumerate(sizes)))

    def multiply(self, a: int, b: int) -> int:
        """The product; `b` may have one number a channel."""
        return self.layer("BinaryOp", (a, b), self._channels[a], {0: 2})

    def concat(self, *inputs: int) -> int:
        """The channels of all inputs."""
        return self.layer("Concat", inputs, sum(self._channels[x] for x in inputs), {})

    def halves(self, x: int) -> tuple[int, int]:
        """The first half of the channels, and the second."""
        return self.slices(x, self._channels[x] // 2)

    def slices(self, x: int, n: int) -> tuple[int, int]:
        """The first `n` channels, and the others."""
        first, second = self._add("Slice", (x,), (n, self._channels[x] - n), {-23300: f"2,{n},-233"})
        return first, second

    def channels(self, x: int) -> int:
        """How many channels `x` has."""
        return self._channels[x]

    def text(self) -> str:
        """The network, the last layer's output called `output`. A blob that several layers read gets a layer that splits it."""
        readers = Counter(x for layer in self._layers for x in layer.inputs)
        left = dict(readers)
        lines: list[str] = []
        n_blobs = 0
        for k, layer in enumerate(self._layers):
            names = [self._reading(x, readers, left) for x in layer.inputs]
            outputs = [_name(x, len(self._channels)) for x in layer.outputs]
            lines.append(_line(layer.kind, f"layer{k}", names, outputs, layer.parameters))
            n_blobs += len(outputs)
            for x in layer.outputs:
                if readers[x] > 1:
                    copies = [f"{x}.{n}" for n in range(readers[x])]
                    lines.append(_line("Split", f"split{x}", [_name(x, len(self._channels))], copies, ""))
                    n_blobs += len(copies)
        return "\n".join([MAGIC, f"{len(lines)} {n_blobs}", *lines]) + "\n"

    def _reading(self, x: int, readers: Counter[int], left: dict[int, int]) -> str:
        left[x] -= 1
        return f"{x}.{left[x]}" if readers[x] > 1 else _name(x, len(self._channels))

    def _add(
        self, kind: str, inputs: tuple[int, ...], channels: tuple[int, ...], parameters: Mapping[int, object]
    ) -> tuple[int, ...]:
        outputs = tuple(range(len(self._channels), len(self._channels) + len(channels)))
        self._channels.extend(channels)
        text = " ".join(f"{number}={value}" for number, value in parameters.items() if value is not None)
        self._layers.append(_Layer(kind, inputs, outputs, text))
        return outputs


def _unless(value: int, default: int) -> int | None:
    return None if value == default else int(value)


def _name(x: int, n_blobs: int) -> str:
    return "data" if x == 0 else "output" if x == n_blobs - 1 else str(x)


def _line(kind: str, name: str, inputs: list[str], outputs: list[str], parameters: str) -> str:
    return " ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, parameters]).rstrip()
