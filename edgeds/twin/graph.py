"""What a twin is: the steps of one artifact in one runtime, each with that runtime's arithmetic on whole batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeds.errors import DataError
from edgeds.spec import Array, Layout, Runtime

if TYPE_CHECKING:
    import torch

    Compute = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]

# Samples that go through all layers together: enough to fill vectors, few enough to stay in a cache of megabytes.
CHUNK = 8


@dataclass(frozen=True, slots=True)
class Quantization:
    """How an activation is quantized: real = (integer - zero_point) · scale, with `scale` rounded to float32 as runtimes hold it."""

    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"a scale must be positive, not {self.scale}")
        object.__setattr__(self, "scale", float(np.float32(self.scale)))

    @property
    def low(self) -> int:
        """The least integer of its type."""
        return int(np.iinfo(self.dtype).min)

    @property
    def high(self) -> int:
        """The largest integer of its type."""
        return int(np.iinfo(self.dtype).max)


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between layers: its shape in the artifact (batch first), and its quantization where it is not float."""

    name: str
    shape: tuple[int, ...]
    quantization: Quantization | None


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One step. `operator` is the runtime's name, with `PAD+` before it where the runtime pads in the same kernel.

    `inputs` and `outputs` name values; constants are inside `compute`, which takes a tensor for each input, [N, ...] of the value's type.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    compute: Compute


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """An artifact in a runtime, computed without that runtime. Values have the artifact's own order of axes, `layout`."""

    runtime: Runtime
    layout: Layout
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    values: dict[str, Value]

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """What the runtime answers: float32 [N, ...] for each output, bit for bit.

        inputs[k]: float32 [N, ...] without batch axis, axes as PyTorch has them, like edgeds.run.host takes and gives them.
        """
        self._check(inputs)
        chunks = [self._run(inputs, first) for first in range(0, len(inputs[0]), CHUNK)]
        return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))

    def trace(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every value for these inputs, by name: what `run` forgets."""
        self._check(inputs)
        return {name: value.numpy() for name, value in self._values(self._entered(inputs), keep=True).items()}

    def step(self, layer: Layer, given: Sequence[Array]) -> tuple[Array, ...]:
        """What one layer makes of given inputs to it, [N, ...] in the artifact's order of axes: whether a runtime's layer is right."""
        import torch

        with torch.no_grad():
            computed = layer.compute(*(torch.from_numpy(np.ascontiguousarray(x)) for x in given))
        return tuple(y.numpy() for y in (computed if isinstance(computed, tuple) else (computed,)))

    def _check(self, inputs: Sequence[Array]) -> None:
        if len(inputs) != len(self.inputs):
            raise DataError(f"the artifact takes {len(self.inputs)} inputs, not {len(inputs)}")
        for name, x in zip(self.inputs, inputs, strict=True):
            wanted = self.values[name].shape[1:]
            if self.layout is Layout.NHWC and len(wanted) == 3:
                wanted = (wanted[-1], *wanted[:-1])
            if x.shape[1:] != wanted or x.dtype != np.float32 or len(x) == 0:
                raise DataError(f"input {name} is {x.dtype} {list(x.shape)}; give float32 {['N', *wanted]}")

    def _run(self, inputs: Sequence[Array], first: int) -> tuple[Array, ...]:
        from edgeds.twin import ends

        values = self._values(self._entered([x[first : first + CHUNK] for x in inputs]), keep=False)
        return tuple(ends.leave(values[name], self.values[name], self.layout) for name in self.outputs)

    def _entered(self, inputs: Sequence[Array]) -> dict[str, torch.Tensor]:
        from edgeds.twin import ends

        return {
            name: ends.enter(x, self.values[name], self.layout) for name, x in zip(self.inputs, inputs, strict=True)
        }

    def _values(self, values: dict[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
        """All values, or with `keep` false those that nothing reads any more left out."""
        import torch

        readers = Counter((*self.outputs, *(name for layer in self.layers for name in layer.inputs)))
        with torch.no_grad():
            for layer in self.layers:
                computed = layer.compute(*(values[name] for name in layer.inputs))
                values.update(_named(layer, computed))
                readers.subtract(layer.inputs)
                if not keep:
                    values = {name: value for name, value in values.items() if readers[name] > 0}
        return values


def _named(layer: Layer, computed: torch.Tensor | tuple[torch.Tensor, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    return zip(layer.outputs, computed if isinstance(computed, tuple) else (computed,), strict=True)
