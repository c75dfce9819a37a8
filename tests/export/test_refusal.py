"""What a format cannot take is said before a converter works, or out of the converter's own error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeds import program as programs
from edgeds.errors import ModelError
from edgeds.export import refusal, worker
from edgeds.export.leftovers import leftovers
from edgeds.export.refusal import explained, refuse
from edgeds.leftover import LeftoverKind
from edgeds.quantize.pt2e import quantize_program
from edgeds.recipe import Recipe
from edgeds.spec import Format, Precision, Program, Samples

ALL = tuple(Format)


class Head(nn.Module):
    """One operator behind a convolution."""

    def __init__(self, operator: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.operator = operator

    def forward(self, x: torch.Tensor) -> object:
        return self.operator(self.conv(x))


@pytest.fixture
def program(captured: Callable[..., Program]) -> Callable[..., Program]:
    """The program of a Head, each step of it from net.py:7."""

    def make(operator: Callable[[torch.Tensor], object]) -> Program:
        made = captured(Head(operator), (1, 3, 8, 8))
        return replace(made, nodes=tuple(replace(node, source="net.py:7") for node in made.nodes))

    return make


def refused(program: Program, *formats: Format) -> str:
    with pytest.raises(ModelError) as caught:
        refuse(program, formats)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_operator_that_a_format_lacks_names_format_line_and_ways_out(program: Callable[..., Program]) -> None:
    top = program(lambda y: y.flatten(1).topk(2)[0])
    assert refused(top, *ALL) == (
        "TFLite cannot take aten.topk.default at net.py:7; return what it works on, and compute it in the app; "
        "or leave the format out: --format executorch,onnx"
    )
    assert refused(top, Format.TFLITE).endswith("compute it in the app")
    refuse(top, (Format.EXECUTORCH, Format.ONNX))


def test_several_formats_that_lack_it_are_named_together(program: Callable[..., Program]) -> None:
    message = refused(program(lambda y: y.sort(-1)[0]), *ALL)
    assert message.startswith("ExecuTorch and TFLite cannot take aten.sort.default at net.py:7; ")
    assert message.endswith("--format onnx")


def test_a_value_returned_twice_is_refused_for_tflite_alone(program: Callable[..., Program]) -> None:
    twice = program(lambda y: (y, y))
    assert refused(twice, *ALL) == (
        "TFLite cannot give one value twice (aten.conv2d.default at net.py:7); return it once; "
        "or leave the format out: --format executorch,onnx"
    )
    refuse(twice, (Format.EXECUTORCH, Format.ONNX))


def test_what_every_format_takes_is_not_refused(program: Callable[..., Program]) -> None:
    refuse(program(lambda y: (y.relu(), y.argmax(1), y.cumsum(-1), torch.where(y > 0, y, 0))), ALL)


@pytest.mark.parametrize(
    "text",
    [
        "Missing out variants: {'aten::cumsum'}",
        "Lowering not found: aten.cumsum.default While executing",
        "Didn't find op for builtin opcode 'STABLEHLO_CUMSUM' version '1'.\nRegistration failed.",
        "the runtime has no kernel for aten::cumsum",
    ],
)
def test_a_converters_error_is_said_of_the_step_that_it_names(program: Callable[..., Program], text: str) -> None:
    error = explained(program(lambda y: y.cumsum(-1)), Format.EXECUTORCH, RuntimeError(text))
    assert str(error).startswith("ExecuTorch cannot take aten.cumsum.default at net.py:7 (RuntimeError: ")
    assert str(error).endswith("or leave the format out: --format onnx,tflite")
    assert "\n" not in str(error)


def test_an_error_that_names_no_step_stays_what_it_is(program: Callable[..., Program]) -> None:
    assert explained(program(lambda y: y), Format.ONNX, RuntimeError("out of aten::luck")) is None


def test_an_error_that_names_no_step_is_said_of_those_that_have_no_rule(program: Callable[..., Program]) -> None:
    text = "Attempting to convert non-NHWC compatible node to NHWC: dequantize_per_tensor_1"
    error = explained(program(lambda y: y.cumsum(-1)), Format.TFLITE, AssertionError(text))
    assert str(error) == (
        f"TFLite's converter fails (AssertionError: {text}), most likely for aten.cumsum.default at net.py:7; return what it works "
        "on, and compute it in the app; or leave the format out: --format executorch,onnx"
    )
    assert explained(program(lambda y: y.cumsum(-1)), Format.TFLITE, OSError("no space left")) is None


class Unequal(nn.Module):
    """Channels that differ by twelve orders of magnitude, and weights that make up for it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        sizes = torch.tensor([1e6, 1e-6, 1e6, 1e-6])
        self.first.weight.data *= sizes.view(-1, 1, 1, 1)
        self.second.weight.data /= sizes.view(1, -1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x))
        return y


def test_scales_that_xnnpack_does_not_load_are_refused_before_and_foretold(
    captured: Callable[..., Program], samples_of: Callable[..., Samples], tmp_path: Path
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = captured(Unequal(), (1, 3, 8, 8))
    inputs = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    graph = quantize_program(made, samples_of(inputs), Recipe("w8c-a8t-minmax"))[0]
    graph = replace(graph, nodes=tuple(replace(node, source="net.py:7") for node in graph.nodes))
    programs.save(graph, tmp_path / "x")
    for format in (Format.EXECUTORCH, Format.TFLITE):
        expected = r"cannot take aten\.conv2d\.default at net\.py:7 \(second\): its sums .* XNNPACK takes less than 256; .*batch-norm"
        with pytest.raises(ModelError, match=expected):
            worker.run(worker.Job(format, Precision.INT8, tmp_path / "x", tmp_path / "out"))
        (found,) = leftovers(graph, format)
        assert (found.kind, found.places) == (LeftoverKind.REFUSED, ("second",))
    assert leftovers(graph, Format.ONNX) == ()


@pytest.mark.parametrize(
    ("format", "operator", "name"),
    [
        (Format.TFLITE, lambda y: y.sort(-1)[0], "aten.sort.default"),
        (Format.TFLITE, lambda y: y.median(1)[0], "aten.median.dim"),
        (Format.EXECUTORCH, lambda y: y.median(1)[0], "aten.median.dim"),
        (Format.ONNX, lambda y: y.median(1)[0], "aten.median.dim"),
    ],
    ids=["runtime tflite", "converter tflite", "executorch", "onnx"],
)
def test_an_operator_that_no_table_knows_is_found_by_converter_and_runtime(
    program: Callable[..., Program],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: Format,
    operator: Callable[[torch.Tensor], object],
    name: str,
) -> None:
    monkeypatch.setattr(refusal, "LACKING", dict.fromkeys(Format, ()))
    programs.save(program(operator), tmp_path / "x")
    job = worker.Job(format, Precision.FP32, tmp_path / "x", tmp_path / "out")
    with warnings.catch_warnings(), pytest.raises(ModelError, match=rf"cannot take {name} at net\.py:7 \("):
        warnings.simplefilter("ignore")  # of the converters, as worker.main does
        worker.run(job)
