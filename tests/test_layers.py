from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeds.export.taps import tapped, taps
from edgeds.layers import layer_errors
from edgeds.program import output_nodes
from edgeds.spec import Array, Program


def with_quiet_channel(program: Program, module: str) -> Program:
    """The program with one output channel of a module's weight at half its size."""
    step = next(n for n in program.nodes if n.module == module and n.target.startswith(("aten.conv2d", "aten.linear")))
    by_name = {node.name: node for node in program.nodes}
    weight = by_name[step.args[1]["node"]]
    while weight.op != "get_attr":
        weight = by_name[weight.args[0]["node"]]
    quiet = program.tensors[weight.target].copy()
    quiet[2] = (quiet[2] * 0.5).astype(quiet.dtype)
    return replace(program, tensors={**program.tensors, weight.target: quiet})


def values(program: Program, evaluate: Any, inputs: Array) -> list[Array]:
    found: list[Array] = evaluate(tapped(program), inputs)
    return found


def test_taps_are_all_quantized_activations_and_say_whose_they_are(tiny: Any) -> None:
    found = taps(tiny.graph)
    assert [tap.module for tap in found if tap.operator == "aten.conv2d.default" and tap.module] == [
        "stem",
        "depthwise",
        "pointwise",
        "reduce",
        "expand",
        "head",
    ]
    assert found[-1].module == "classifier" and all(tap.scale for tap in found)
    outputs = [node.name for node in output_nodes(tapped(tiny.graph))]
    assert outputs == [f"{tap.output}_tap" for tap in found]


def test_pytorch_s_own_layers_are_right(tiny: Any, evaluate: Any, samples_of: Any) -> None:
    for program in (tiny.graph, tiny.float_export):
        found = layer_errors(program, samples_of(tiny.inputs[:2]), values(program, evaluate, tiny.inputs[:2]))
        assert len(found) > 10 and {error.max_error for error in found} == {0.0}


@pytest.mark.parametrize("module", ["depthwise", "expand", "classifier"])
@pytest.mark.parametrize("kind", ["graph", "float_export"])
def test_a_wrong_channel_is_found_in_its_layer_and_in_no_other(
    tiny: Any, evaluate: Any, samples_of: Any, module: str, kind: str
) -> None:
    program = getattr(tiny, kind)
    wrong = values(with_quiet_channel(program, module), evaluate, tiny.inputs[:2])
    found = layer_errors(program, samples_of(tiny.inputs[:2]), wrong)
    (bad,) = [error for error in found if error.max_error > 1]
    assert bad.module == module
    assert bad.max_error > 3 and 0 < bad.share <= 0.25


def test_a_step_of_rounding_is_no_error_of_the_layers_behind_it(tiny: Any, evaluate: Any, samples_of: Any) -> None:
    given = values(tiny.graph, evaluate, tiny.inputs[:1])
    first = taps(tiny.graph)[0]
    assert first.scale is not None
    given[0] = given[0] + np.float32(first.scale)
    found = layer_errors(tiny.graph, samples_of(tiny.inputs[:1]), given)
    assert found[0].max_error == 1.0 and found[0].share == 0.0
    assert len(found) == len(given)


def test_a_wrong_float_output_of_a_quantized_graph_is_a_wrong_layer(tiny: Any, evaluate: Any, samples_of: Any) -> None:
    *steps, output = tiny.graph.nodes
    last = output_nodes(tiny.graph)[0]
    softmax = replace(last, name="probabilities", target="aten.softmax.int", args=[{"node": last.name}, 1])
    graph = replace(tiny.graph, nodes=(*steps, softmax, replace(output, args=[[{"node": "probabilities"}]])))
    given = values(graph, evaluate, tiny.inputs[:2])
    right = layer_errors(graph, samples_of(tiny.inputs[:2]), given)
    given[-1] = given[-1] * np.float32(0.9)
    (bad,) = [one for one in layer_errors(graph, samples_of(tiny.inputs[:2]), given) if one.max_error > 1]
    assert len(right) == len(given) and {error.max_error for error in right} == {0.0}
    assert (bad.operator, bad.quantized) == ("aten.softmax.int", False) and round(bad.max_error) == 100
