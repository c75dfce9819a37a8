"""Which value of an artifact is which quantized activation of the PT2E graph: by scale, zero point and shape, then by likeness, then by order."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeds.export.taps import Tap
from edgeds.spec import Array, Layout
from edgeds.twin import Quantization, Twin, Value


@dataclass(frozen=True, slots=True)
class Match:
    """The value that a tap is in the artifact. `same` says whether its scale and zero point are the graph's."""

    value: Value
    same: bool

    @property
    def quantization(self) -> Quantization:
        """Of the value, which has one."""
        assert self.value.quantization is not None
        return self.value.quantization


def align(
    taps: Sequence[Tap],
    shapes: Sequence[tuple[int, ...]],
    twin: Twin,
    channels_last: bool,
    distance: Callable[[int, Value], float] | None = None,
) -> tuple[Match | None, ...]:
    """A match for each tap, None where the artifact has no such value: a runtime may compute several layers at once.

    `shapes` are the taps', as PyTorch has them. A view of a value is that value. What is concatenated has one scale, and a converter may
    compute it in another order than the graph: there `distance` tells, if it is known how far a value is from the k-th tap's.
    """
    places = {name: k for k, name in enumerate(name for layer in twin.layers for name in layer.outputs)}
    values = [value for name in places if (value := twin.values[name]).quantization is not None]
    found: list[Match | None] = [None] * len(taps)
    used: dict[str, None] = {}
    for k, (tap, shape) in enumerate(zip(taps, shapes, strict=True)):
        equal = [value for value in values if _fits(value, shape, channels_last) and _same(value, tap)]
        if equal:
            chosen = _chosen(k, equal, used, distance)
            found[k] = Match(chosen, True)
            used[chosen.name] = None
    for k, before, after in _gaps(found, places):
        between = [
            value
            for value in values
            if value.name not in used and before < places[value.name] < after and _fits(value, shapes[k], channels_last)
        ]
        if between:
            found[k] = Match(between[0], False)
            used[between[0].name] = None
    return tuple(found)


def _chosen(
    k: int, equal: Sequence[Value], used: Container[str], distance: Callable[[int, Value], float] | None
) -> Value:
    """The nearest to the k-th tap; of several that are equally near the first that is no other tap's yet, else the last."""
    if distance is not None and len(equal) > 1:
        far = [distance(k, value) for value in equal]
        equal = [value for value, one in zip(equal, far, strict=True) if one == min(far)]
    return next((value for value in equal if value.name not in used), equal[-1])


def arranged(values: Array, shape: tuple[int, ...], channels_last: bool) -> Array:
    """A value [N, ...] with the order of axes and the shape (but for N) that PyTorch has."""
    if channels_last and values.ndim == 4 and _moved(values.shape)[1:] == shape[1:]:
        return np.moveaxis(values, -1, 1)
    if channels_last and values.ndim == 4 and _squeezed(_moved(values.shape)) == _squeezed(shape):
        values = np.moveaxis(values, -1, 1)
    return values.reshape(len(values), *shape[1:])


def reals(values: Array, by: Quantization) -> Array:
    """float32 of integers."""
    real: Array = (values.astype(np.float32) - np.float32(by.zero_point)) * np.float32(by.scale)
    return real


def channels_last(layout: Layout, twin: Twin) -> bool:
    """Whether the artifact's images are [N, H, W, C] inside: XNNPACK's are, whatever the order outside."""
    return layout is Layout.NHWC or any(layer.operator in ("Conv2d", "DepthwiseConv2d") for layer in twin.layers)


def _gaps(found: Sequence[Match | None], places: dict[str, int]) -> Iterator[tuple[int, int, int]]:
    """Each tap without a match, with the places of the matches before and behind it."""
    before = -1
    for k, match in enumerate(found):
        if match is not None:
            before = max(before, places[match.value.name])
            continue
        behind = (places[other.value.name] for other in found[k + 1 :] if other is not None)
        yield k, before, next((place for place in behind if place > before), len(places))


def _same(value: Value, tap: Tap) -> bool:
    """Equal scale and zero point; unsigned zero points are 128 more for the same real values."""
    by = value.quantization
    if by is None or tap.scale is None:
        return False
    shift = 128 if by.dtype == "uint8" else 0
    return np.float32(by.scale) == np.float32(tap.scale) and by.zero_point - shift == tap.zero_point


def _fits(value: Value, shape: tuple[int, ...], last: bool) -> bool:
    """As it is, or with its channels moved, but for axes of 1. Where no shape is known, order must decide."""
    if not value.shape:
        return True
    own = {_squeezed(value.shape)}
    if last and len(value.shape) == 4:
        own.add(_squeezed(_moved(value.shape)))
    return _squeezed(shape) in own


def _moved(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[-1], *shape[1:-1])


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape[1:] if n != 1)
