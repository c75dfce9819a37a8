"""Which value of an artifact is which of the graph's: what is alike in scale and shape is told apart by its values, else by order."""

from __future__ import annotations

from edgeds.export.taps import Tap
from edgeds.spec import Layout, Runtime
from edgeds.twin import Quantization, Twin, Value
from edgeds.twin.align import align
from edgeds.twin.graph import Layer

BY = Quantization(0.5, 3)
# joined by a concatenation, so of one scale; the artifact computes the second one first
TAPS = tuple(Tap(name, name, "aten.linear.default", name, "", BY.scale, BY.zero_point) for name in ("first", "second"))
SHAPES = [(1, 4), (1, 4)]
ORDER = ("second's", "first's")


def _twin() -> Twin:
    values = {name: Value(name, (1, 4), BY) for name in ORDER}
    layers = tuple(Layer(name, "FULLY_CONNECTED", (), (name,), lambda: ()) for name in ORDER)
    return Twin(Runtime.LITERT, Layout.NHWC, (), (), layers, values)


def _names(**given: object) -> list[str]:
    return [match.value.name for match in align(TAPS, SHAPES, _twin(), False, **given) if match]  # type: ignore[arg-type]


def test_equal_values_are_told_apart_by_how_near_they_are() -> None:
    assert _names(distance=lambda k, value: float(not value.name.startswith(TAPS[k].step))) == ["first's", "second's"]


def test_without_values_the_order_decides() -> None:
    assert _names() == list(ORDER)


def test_of_equally_near_values_each_is_taken_once() -> None:
    assert _names(distance=lambda k, value: 0.0) == list(ORDER)
