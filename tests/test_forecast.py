"""What `edgeds inspect --formats` says of a model; tests/test_coverage.py and test_any_model.py hold it against artifacts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeds.forecast import forecast
from edgeds.leftover import Forecast, LeftoverKind
from edgeds.models import load_model
from edgeds.spec import Format, Model


class Net(nn.Module):
    """A 7x7 depthwise convolution, GELU, a permutation, and a sum that nothing quantizes."""

    input_shape = (1, 3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 7, padding=3, groups=8)

    def forward(self, x: torch.Tensor) -> Any:
        y = F.gelu(self.depthwise(F.relu(self.stem(x))))
        return y.permute(0, 2, 3, 1), y.cumsum(1)


def model_of(module: nn.Module, *shapes: tuple[int, ...]) -> Model:
    return Model("net", module.eval(), shapes, "random")


@pytest.fixture(scope="module")
def found() -> dict[Format, Forecast]:
    forecasts, warnings = forecast(model_of(Net(), Net.input_shape))
    assert warnings == ()
    return {one.format: one for one in forecasts}


def left(forecast: Forecast) -> dict[LeftoverKind, list[str]]:
    kinds: dict[LeftoverKind, list[str]] = {}
    for leftover in forecast.leftovers:
        kinds.setdefault(leftover.kind, []).append(leftover.operator)
    return kinds


def test_each_format_has_its_own_leftovers(found: dict[Format, Forecast]) -> None:
    turned = {LeftoverKind.TRANSPOSE: ["aten.permute.default"]}
    slow = {LeftoverKind.SLOW: ["aten.conv2d.default"]}
    assert left(found[Format.EXECUTORCH]) == {LeftoverKind.BEHIND: ["aten.cumsum.default"], **turned, **slow}
    assert left(found[Format.ONNX]) == {LeftoverKind.FLOAT: ["aten.cumsum.default", "aten.gelu.default"], **turned}
    assert left(found[Format.TFLITE]) == {LeftoverKind.FLOAT: ["aten.cumsum.default"], **turned, **slow}


def test_what_is_left_has_the_users_module_a_reason_and_a_remedy(found: dict[Format, Forecast]) -> None:
    (slow,) = (leftover for leftover in found[Format.TFLITE].leftovers if leftover.kind is LeftoverKind.SLOW)
    assert slow.places == ("depthwise",)
    assert "25 taps" in slow.why and "5x5" in slow.mend
    assert all(leftover.why and leftover.mend for one in found.values() for leftover in one.leftovers)


def test_what_runs_behind_the_delegate_does_not_split_it(found: dict[Format, Forecast]) -> None:
    assert found[Format.EXECUTORCH].one_delegate and not found[Format.EXECUTORCH].integer


def test_what_splits_the_delegate_is_said_with_its_operator_alone() -> None:
    class Split(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.depthwise(self.stem(x).unflatten(1, (2, 4)).median(2).values.repeat(1, 4, 1, 1))
            return y

    forecasts, _ = forecast(model_of(Split(), Net.input_shape), (Format.EXECUTORCH,))
    assert not forecasts[0].one_delegate
    assert "aten.median.dim" in left(forecasts[0])[LeftoverKind.OUTSIDE]
    assert not {"getitem", "aten.view.default", "aten.reshape.default"} & set(left(forecasts[0])[LeftoverKind.OUTSIDE])


def test_a_transpose_is_integer(found: dict[Format, Forecast]) -> None:
    turning = Forecast(Format.ONNX, tuple(x for x in found[Format.ONNX].leftovers if x.kind is LeftoverKind.TRANSPOSE))
    assert turning.leftovers and turning.integer


def test_nothing_is_left_of_the_zoos_models() -> None:
    forecasts, _ = forecast(load_model("mobilenet_v3_small", input_shapes=((1, 3, 64, 64),)))
    assert [one.leftovers for one in forecasts] == [(), (), ()]


def test_what_a_format_lacks_is_a_forecast_and_no_error() -> None:
    class Best(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(1).values

    forecasts, _ = forecast(model_of(Best(), (1, 8)))
    assert {one.format: one.refused for one in forecasts} == {
        Format.EXECUTORCH: True,
        Format.ONNX: False,
        Format.TFLITE: True,
    }


def test_a_model_that_takes_no_noise_is_foretold_from_zeros() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(4, 8), nn.Linear(8, 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.table(ids.long()).mean(1))
            return y

    forecasts, _ = forecast(model_of(Tokens(), (1, 6)))
    assert "aten.embedding.default" in left(forecasts[0])[LeftoverKind.OUTSIDE]
