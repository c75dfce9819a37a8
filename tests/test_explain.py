"""Layers explained: healthy artifacts are clean, a planted fault is found where it was planted, and shares follow what was done."""

from __future__ import annotations

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
from edgeds.spec import Format, Runtime
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
