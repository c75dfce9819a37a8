"""Layers explained: healthy artifacts are clean, a planted fault is found where it was planted, and shares follow what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edgeds import twin
from edgeds.explain import Expected, Explanation, expect, explain
from edgeds.explain.ranges import ranges
from edgeds.explain.scales import channel_factors
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.spec import Format, Program, Runtime
from edgeds.twin import Quantization
from tests.conftest import make_samples
from tests.faults import FAULTS

if TYPE_CHECKING:
    from tests.conftest import Lowered, Tiny

RUNTIME = {
    Format.EXECUTORCH: Runtime.EXECUTORCH,
    Format.ONNX: Runtime.ONNXRUNTIME,
    Format.TFLITE: Runtime.LITERT,
}
# Where each fault is planted: the module and the operator of the layer, as the graph has them.
PLACES = {
    "scale": ("", "add"),
    "zero point": ("", "mul"),
    "weights": ("pointwise", "conv2d"),
    "bias": ("head", "conv2d"),
    "padding": ("depthwise", "conv2d"),
}


def test_only_what_the_float_model_has_outside_of_the_range_saturates() -> None:
    relu6 = Quantization(6 / 255, -128)
    value = np.array([[0.0, 3.0, 6.0, 6.0]], np.float32)
    assert ranges(value, value, relu6).saturated == 0
    assert ranges(value, np.array([[0.0, 3.0, 6.0, 7.0]], np.float32), relu6).saturated == 0.25
    assert ranges(value, np.array([[-1.0, 3.0, 6.01, 6.0]], np.float32), relu6).saturated == 0.25


def test_factors_are_those_by_which_channels_were_scaled_and_hide_no_other_error() -> None:
    true = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    true[:, 2] = 0
    scale = np.array([0.5, 8, 1], np.float32).reshape(1, 3, 1, 1)
    noise = np.random.default_rng(1).standard_normal(true.shape).astype(np.float32) / 100
    np.testing.assert_allclose(channel_factors(true * scale + noise, true), scale, atol=0.005)


@pytest.fixture(scope="module")
def expected(tiny: Tiny) -> Expected:
    return expect(tiny.float_program, tiny.graph, make_samples(tiny.inputs))


@pytest.mark.parametrize("format_", Format)
def test_a_healthy_artifact_has_no_wrong_layer_and_its_shares_add_up(
    expected: Expected, tiny_artifacts: Lowered, format_: Format
) -> None:
    artifact = tiny_artifacts.artifacts[f"{format_}-int8"]
    found = explain(artifact, artifact.path, RUNTIME[format_], expected)
    assert found.identical == 1
    assert [layer for layer in found.layers if layer.wrong] == []
    assert max(layer.own_error for layer in found.layers) <= 1
    shown = {layer.runtime_error for layer in found.layers}
    assert shown == ({None} if format_ is Format.EXECUTORCH else {0})
    assert np.nansum([layer.error_share for layer in found.layers]) == pytest.approx(1)
    assert {layer.module for layer in found.layers} > {"stem", "depthwise", "pointwise", "head", "classifier"}
    assert all(layer.pt2e_db > layer.float_db for layer in found.layers if np.isfinite(layer.float_db))
    assert " % of the final error comes from " in found.sentence


def test_a_hardsigmoid_that_the_layer_before_it_computes_is_what_that_layer_is_compared_with(
    expected: Expected,
) -> None:
    (tap,) = (tap for tap in expected.watched if tap.module == "expand")
    targets = {node.name: node.target for node in expected.program.nodes}
    assert targets[expected.names[tap.step]] == "aten.hardsigmoid.default"
    np.testing.assert_allclose(expected.references[tap.output], expected.floats[expected.names[tap.step]], atol=0.02)


class Spelled(torch.nn.Module):
    """A hardsigmoid in other words behind one layer, numbers behind another, and behind a layer that two read."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.scaled, self.shared = (torch.nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.nn.functional.relu6(self.gate(x) + 3) / 6
        shared = self.shared(self.scaled(x) * 0.125 - 1)
        y: torch.Tensor = gate + shared + shared * 2
        return y


def test_numbers_that_a_layer_takes_into_its_weights_are_part_of_what_it_is_compared_with(
    captured: Callable[..., Program],
) -> None:
    torch.manual_seed(0)
    program = captured(Spelled(), (1, 3, 8, 8))
    samples = make_samples(np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32))
    graph, _, _ = quantize_program(program, samples, Recipe("fast"))
    found = expect(program, graph, samples)
    targets = {node.name: node.target for node in program.nodes}
    ends = {tap.module: targets[found.names[tap.step]] for tap in found.watched if tap.module}
    assert ends == {"gate": "aten.div.Tensor", "scaled": "aten.sub.Tensor", "shared": "aten.conv2d.default"}
    for tap in found.watched:
        if tap.module:
            np.testing.assert_allclose(found.references[tap.output], found.floats[found.names[tap.step]], atol=0.05)


def test_looking_into_a_runtime_prints_nothing(
    tiny_artifacts: Lowered, expected: Expected, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = tiny_artifacts.artifacts["tflite-int8"]
    explain(artifact, artifact.path, Runtime.LITERT, expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("format_", "fault"), FAULTS)
def test_a_planted_fault_is_found_in_its_layer_and_nowhere_else(
    tiny_artifacts: Lowered, expected: Expected, tmp_path: Path, format_: Format, fault: str
) -> None:
    module, operator = PLACES[fault]
    tap = next(t for t in expected.watched if t.module == module and t.operator.startswith(f"aten.{operator}."))
    artifact, faulty = tiny_artifacts.artifacts[f"{format_}-int8"], tmp_path / "faulty"
    assert tap.scale is not None
    FAULTS[format_, fault](artifact.path, faulty, tap.scale, tap.zero_point)
    found: Explanation = explain(artifact, faulty, RUNTIME[format_], expected)
    assert [(layer.module, layer.operator) for layer in found.layers if layer.wrong] == [(module, operator)]
    assert "is wrong: " in found.sentence


def _only(computed: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    assert isinstance(computed, torch.Tensor)
    return computed


def test_a_runtime_that_deviates_from_its_arithmetic_is_named_at_the_layer_where_it_does(
    tiny_artifacts: Lowered, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tiny_artifacts.artifacts["tflite-int8"]
    own = twin.load(artifact, artifact.path, Runtime.LITERT)
    place = [layer.operator for layer in own.layers].index("ADD")
    layer = own.layers[place]
    changed = replace(layer, compute=lambda *given: torch.div(_only(layer.compute(*given)), 2).to(torch.int8))
    wrong = replace(own, layers=(*own.layers[:place], changed, *own.layers[place + 1 :]))
    monkeypatch.setattr(twin, "load", lambda *_: wrong)
    found = explain(artifact, artifact.path, Runtime.LITERT, expected)
    assert found.identical < 1
    assert [layer.operator for layer in found.layers if layer.runtime_error] == ["add"]
    assert "of the runtime's output elements are not what its arithmetic gives, first at add: " in found.sentence
