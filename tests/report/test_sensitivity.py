"""What `edgeds sensitivity` prints, and its JSON."""

from __future__ import annotations

import io
import json
import math

from rich.console import Console

from edgeds.report.sensitivity import MOST_LAYERS, sensitivity_json, sensitivity_report, verdict
from edgeds.results import LayerCost, Sensitivity

LAYERS = (
    LayerCost("features.1", "conv2d", 18.04, 20.0, 21.5, 0.6, ("features.1:add",)),
    LayerCost("features.1:add", "add", 21.0, None, 21.0, 0.3),
    LayerCost("x", "input", math.inf, None, math.inf, 0.0),
)
FOUND = Sensitivity(LAYERS, 17.2, 16)


def printed(found: Sensitivity) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    for part in sensitivity_report("net", found):
        console.print(part)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_each_layer_has_a_line_with_what_its_weights_and_its_values_cost() -> None:
    lines = printed(FOUND)
    assert lines[0] == "net · 3 layers, each alone in int8, on 16 samples"
    assert "features.1 conv2d 18.0 20.0 21.5 60.0" in lines
    assert "features.1:add add 21.0 – 21.0 30.0" in lines
    assert "x input exact – exact 0.0" in lines


def test_under_the_table_stands_what_its_figures_are() -> None:
    text = " ".join(printed(FOUND))
    assert "dB: SQNR against the float model, of int8 simulated in PyTorch on these samples. An export measures" in text
    assert text.index("dB: SQNR against") < text.index("All layers in int8: SQNR 17.2 dB")


def test_the_verdict_says_what_all_of_it_costs_and_who_has_most() -> None:
    assert verdict(FOUND) == [
        "All layers in int8: SQNR 17.2 dB against the float model.",
        "90.0 % of the noise is of features.1, features.1:add, x.",
    ]
    nothing = Sensitivity(LAYERS[2:], math.inf, 16)
    assert verdict(nothing) == ["All layers in int8: as the float model answers."]


def test_of_many_layers_the_worst_are_shown_and_the_others_counted() -> None:
    many = Sensitivity(LAYERS[:1] * (MOST_LAYERS + 2), 5.0, 16)
    assert verdict(many)[-1] == "2 more layers have 120.0 % of the noise together; --json lists them."
    assert sum(line.startswith("features.1 conv2d") for line in printed(many)) == MOST_LAYERS


def test_json_has_every_layer_and_no_infinity_that_json_does_not_have() -> None:
    content = json.loads(json.dumps(sensitivity_json("net", FOUND), allow_nan=False))
    assert (content["schema_version"], content["model"], content["whole_db"], content["n_samples"]) == (
        1,
        "net",
        17.2,
        16,
    )
    assert content["layers"][0] == {
        "name": "features.1", "operator": "conv2d", "sqnr_db": 18.04, "weights_db": 20.0, "activations_db": 21.5, "share": 0.6,
        "readers": ["features.1:add"],
    }  # fmt: skip
    assert content["layers"][2]["sqnr_db"] == "Infinity"
