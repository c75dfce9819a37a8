"""The layers on the terminal and as JSON, and the sentence that they end in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from edgeds.explain import Explanation, LayerReport
from edgeds.explain.ranges import Ranges
from edgeds.explain.sentences import sentence
from edgeds.recipe import Recipe
from edgeds.report.layers import MOST_ROWS, layer_tables, layers_json

EVEN = Ranges(spread=1.5, saturated=0.0, dead=0, channels=64)
LAYER = LayerReport("conv2d", "features.14.conv.1", "net.py:12", 0.4, 31.25, 40.0, EVEN, 1.0, 0, "")


def _explanation(*layers: LayerReport, identical: float = 1.0) -> Explanation:
    return Explanation("onnx-int8@onnxruntime", 8, identical, 0, layers, sentence(layers, identical))


def _printed(explanation: Explanation, width: int = 110) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(*layer_tables([explanation]))
    return captured.get()


def test_a_layer_stands_with_its_module_and_its_numbers() -> None:
    text = _printed(_explanation(LAYER))
    assert "onnx-int8@onnxruntime · 1 of 1 layers, on 8 inputs · 100 % of output bits as predicted" in text
    (row,) = (line for line in text.splitlines() if "features.14.conv.1" in line and "conv2d " in line)
    assert row.split() == [
        "40.0",
        "features.14.conv.1",
        "conv2d",
        "31.2",
        "40.0",
        "1",
        "0",
        "1.5",
        "0.00",
        "0",
        "of",
        "64",
    ]


@pytest.mark.parametrize("width", range(60, 130))
def test_a_layer_is_one_line_of_any_terminal(width: int) -> None:
    named = replace(LAYER, module="features.3.depthwise", ranges=replace(EVEN, spread=255.0, dead=128, channels=256))
    lines = _printed(_explanation(named), width).splitlines()
    assert [line.split()[:3] for line in lines if "conv2d " in line and "40.0" in line] == [
        ["40.0", "features.3.depthwise", "conv2d"]
    ]
    assert all(len(line.rstrip()) <= width for line in lines)


def test_a_layer_s_name_is_whole_in_a_narrow_terminal_and_other_columns_give_way() -> None:
    named = replace(LAYER, module="backbone.stages.3.blocks.11.conv.2")
    lines = _printed(_explanation(named), 80).splitlines()
    (row,) = (line for line in lines if named.module in line and "conv2d " in line)
    assert row.split()[:4] == ["40.0", named.module, "conv2d", "31.2"]
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert any(line.startswith("4 more columns in a wider terminal") for line in lines)
    assert "more columns" not in _printed(_explanation(named), 130)


def test_a_name_that_is_too_long_for_any_terminal_is_folded_and_not_cut() -> None:
    named = replace(LAYER, module="".join(f"{k:03}." for k in range(30)))
    lines = _printed(_explanation(named), 80).partition("4 more columns")[0].splitlines()
    (heading,) = (k for k, line in enumerate(lines) if "operator" in line)
    begin, end = lines[heading].index("layer"), lines[heading].index("operator")
    assert "".join(line[begin:end].strip() for line in lines[heading + 2 :]) == named.module


def test_the_layers_with_the_largest_share_come_first_and_a_wrong_one_before_them() -> None:
    many = [replace(LAYER, module=f"layer{k}", error_share=k / 1000) for k in range(20)]
    many[0] = replace(many[0], wrong="it is off")
    text = _printed(_explanation(*many))
    listed = [
        line.split()[1] for line in text.splitlines() if " layer" in line and "conv2d " in line and "wrong" not in line
    ]
    assert listed == ["layer0", *(f"layer{k}" for k in range(19, 20 - MOST_ROWS, -1))]
    assert "layer0 (conv2d) is wrong: it is off" in text


def test_json_has_every_layer_and_null_for_what_is_not_finite() -> None:
    layer = replace(LAYER, float_db=float("nan"), pt2e_db=float("inf"))
    (found,) = json.loads(json.dumps(layers_json([_explanation(layer)]), allow_nan=False))
    assert found["subject"] == "onnx-int8@onnxruntime"
    assert found["layers"][0]["module"] == "features.14.conv.1"
    assert (found["layers"][0]["float_db"], found["layers"][0]["pt2e_db"]) == (None, None)
    assert found["layers"][0]["ranges"] == {"spread": 1.5, "saturated": 0.0, "dead": 0, "channels": 64}


def test_the_sentence_names_the_largest_share_and_what_helps_against_its_cause() -> None:
    other = replace(LAYER, module="stem", error_share=0.1)
    uneven = replace(LAYER, ranges=replace(EVEN, spread=18.0))
    cut = replace(LAYER, ranges=replace(EVEN, saturated=0.05))
    begin = "40 % of the final error comes from features.14.conv.1 (conv2d): "
    assert sentence([other, LAYER], 1.0) == begin + (
        "8 bits round it as finely as they can; only this layer in float, or training with quantization, would gain"
    )
    assert sentence([other, uneven], 1.0).startswith(begin + "its range is 18 times that of its median channel")
    assert sentence([other, cut], 1.0).startswith(begin + "5.0 % of its values saturate; calibrate on data like")


def test_the_sentence_names_a_wrong_layer_before_what_dominates_and_a_wrong_runtime_before_all() -> None:
    wrong = replace(
        LAYER, module="", source="net.py:7", error_share=0.0, wrong="from its own input it is off by up to 57 steps"
    )
    assert sentence([LAYER, wrong], 1.0).startswith(
        "net.py:7 (conv2d) is wrong: from its own input it is off by up to 57 steps; "
    )
    assert sentence([LAYER, wrong], 0.9).startswith(
        "10 % of the runtime's output elements are not what its arithmetic gives: "
    )
    assert sentence([], 1.0) == "no quantized layer can be seen"


def test_every_wrong_layer_is_named_with_where_it_is_wrong() -> None:
    found = _explanation(LAYER, replace(LAYER, module="stem", wrong="it is off"))
    assert found.wrong == ("onnx-int8@onnxruntime: stem (conv2d) is wrong: it is off",)


def test_advice_does_not_name_what_the_recipe_has_done_already() -> None:
    uneven = replace(LAYER, ranges=replace(LAYER.ranges, spread=18.0, saturated=0.0))
    cut = replace(LAYER, ranges=replace(LAYER.ranges, saturated=0.05))
    assert "--recipe" in sentence([uneven], 1.0) and "--recipe" in sentence([cut], 1.0)
    assert "equalization could not even it out" in sentence([uneven], 1.0, Recipe("w8c-a8t-minmax+equalize"))
    assert "--recipe" not in sentence([cut], 1.0, Recipe("w8c-a8t-minmax"))
    assert "its learned range takes for less harm" in sentence([cut], 1.0, Recipe("best"))


def test_where_most_layers_have_no_counterpart_nothing_is_blamed() -> None:
    unknown = replace(LAYER, error_share=float("nan"))
    assert sentence([unknown, unknown, LAYER], 1.0).startswith("where the error comes from is not known: 2 of 3 layers")
    assert sentence([unknown, LAYER], 1.0) == sentence([LAYER], 1.0)
