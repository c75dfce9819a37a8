"""One net with every activation that edgeds has a rule for, through all three formats and their runtimes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds import program as programs
from edgeds import twin
from edgeds.errors import ModelError
from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Compute, Format, Precision, Program, Samples
from tests.surprises import surprises

if TYPE_CHECKING:
    import torch

SHAPE = (1, 3, 24, 24)
SLOPES = [0.0, 0.1, 0.2, 0.4]


def activations() -> list[Callable[[Any], Any]]:
    import torch
    import torch.nn.functional as F

    return [
        F.silu,
        lambda v: v * torch.sigmoid(v),
        F.hardswish,
        lambda v: v * F.relu6(v + 3) / 6,
        lambda v: F.hardtanh(v + 3, 0.0, 6.0) / 6,
        F.relu6,
        lambda v: v.clamp(-0.5, 0.7),
        lambda v: torch.cat([v.sigmoid(), v], 1)[:, 2:6],
        torch.tanh,
        lambda v: F.leaky_relu(v, 0.1),
        lambda v: F.prelu(v, torch.tensor(SLOPES)),
        lambda v: F.relu(v) - v,  # a clamp of what others read too
        F.gelu,
        lambda v: F.gelu(v, approximate="tanh"),
        F.elu,
        F.mish,
    ]


def every_activation() -> torch.nn.Module:
    """A residual block for each activation of an image, then hardswish, silu and tanh of a vector behind one shared linear layer."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activations = activations()
            self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.expand = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in self.activations)
            self.project = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, groups=4) for _ in self.activations)
            self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 5)
            for layer in (*self.expand, *self.project, self.shared):
                nn.init.normal_(layer.weight, std=1 / layer.weight[0].numel() ** 0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = 4 * self.stem(x)
            for expand, activation, project in zip(self.expand, self.activations, self.project, strict=True):
                x = x + project(activation(expand(x)))
            v = x.mean((2, 3))
            for activation in (nn.functional.hardswish, nn.functional.silu, torch.tanh):
                v = activation(self.shared(v))
            y: torch.Tensor = self.head(v)
            return y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    graph: Program
    artifacts: dict[Format, Artifact]
    outputs: dict[Format, Array]
    expected: Array  # of the PT2E graph
    step: float


@pytest.fixture(scope="module")
def lowered(
    captured: Callable[..., Program],
    samples_of: Callable[..., Samples],
    evaluate: Callable[..., list[Array]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Lowered:
    from edgeds.export.lower import lower
    from edgeds.export.worker import Job
    from edgeds.quantize.parameters import output_scales
    from edgeds.quantize.pt2e import quantize_program

    folder = tmp_path_factory.mktemp("activations")
    data = np.random.default_rng(0).normal(size=(24, *SHAPE[1:])).astype(np.float32)
    data += np.random.default_rng(1).normal(size=(24, 3, 1, 1)).astype(np.float32)
    graph, _, warnings = quantize_program(captured(every_activation(), SHAPE), samples_of(data[:16]), Recipe("fast"))
    assert warnings == ()
    programs.save(graph, folder / "int8")
    jobs = [Job(format_, Precision.INT8, folder / "int8", folder / f"{format_}") for format_ in Format]
    artifacts = {artifact.format: artifact for artifact in lower(jobs, folder)}
    outputs = {f: host.run(a, a.path, RUNTIMES_OF[f][0], (data[16:],)).outputs[0] for f, a in artifacts.items()}
    return Lowered(graph, artifacts, outputs, evaluate(graph, data[16:])[0], output_scales(graph)[0])


def sqnr_db(reference: Array, other: Array) -> float:
    noise = float(np.square(reference.astype(np.float64) - other).sum())
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / noise)) if noise else np.inf


@pytest.mark.parametrize("format_", Format)
def test_every_runtime_computes_the_activations_of_the_quantized_graph(lowered: Lowered, format_: Format) -> None:
    difference = float(np.abs(lowered.outputs[format_] - lowered.expected).max())
    assert difference <= 3.01 * lowered.step
    assert sqnr_db(lowered.expected, lowered.outputs[format_]) > 35
    assert lowered.expected.std() > 10 * lowered.step  # else the claim would be empty


def test_the_runtimes_agree_on_the_activations(lowered: Lowered) -> None:
    first, second, third = (lowered.outputs[format_] for format_ in Format)
    for a, b in ((first, second), (first, third), (second, third)):
        assert sqnr_db(a, b) > 35
        assert float(np.abs(a - b).max()) <= 2.01 * lowered.step


def floats(artifact: Artifact) -> Counter[str]:
    return Counter({o.name: o.count for o in artifact.operators if o.compute not in (Compute.INT8, Compute.CONVERT)})


def integers(artifact: Artifact) -> Counter[str]:
    return Counter({o.name: o.count for o in artifact.operators if o.compute is Compute.INT8})


def test_one_delegate_takes_all_activations_and_only_the_pieces_of_mish_are_float(lowered: Lowered) -> None:
    artifact = lowered.artifacts[Format.EXECUTORCH]
    assert (artifact.delegates, artifact.outside) == (1, ())
    assert not set(floats(artifact)) - {"Add", "Clamp", "Div", "Exp", "Multiply", "StaticTranspose"}
    counts = integers(artifact)
    assert (counts["Hardswish"], counts["Gelu"], counts["ELU"], counts["LeakyReLU"], counts["Tanh"]) == (2, 2, 1, 1, 2)
    assert counts["Sigmoid"] == 4


def test_onnx_runtime_lacks_gelu_elu_and_mish_and_has_tanh_as_a_sigmoid(lowered: Lowered) -> None:
    artifact = lowered.artifacts[Format.ONNX]
    mish = {"Softplus": 1, "Tanh": 1, "Mul": 1}
    assert floats(artifact) == {"Gelu": 2, "Elu": 1, **mish}
    counts = integers(artifact)
    assert (counts["QLinearSigmoid"], counts["QLinearLeakyRelu"], counts["Clip"]) == (4 + 2, 1, 1)


def test_litert_lacks_elu_and_mish_and_no_clamp_stands_alone(lowered: Lowered) -> None:
    artifact = lowered.artifacts[Format.TFLITE]
    pieces = {"ADD", "DIV", "EXP", "GREATER_EQUAL", "MINIMUM", "MUL", "SUB"}
    assert not set(floats(artifact)) - pieces
    counts = integers(artifact)
    assert (counts["GELU"], counts["LEAKY_RELU"], counts["LOGISTIC"], counts["TANH"], counts["MAXIMUM"]) == (
        2,
        1,
        4,
        2,
        1,
    )
    assert not {"RELU", "RELU6", "RELU_0_TO_1", "HARD_SWISH"} & set(counts)


@pytest.mark.parametrize(
    ("format_", "note"),
    [
        (Format.EXECUTORCH, "Exp: 1 in float: XNNPACK has no integer kernel for aten.mish.default in "),
        (Format.ONNX, "Gelu: 2 in float: ONNX Runtime has no integer kernel for aten.gelu.default in "),
        (Format.ONNX, "Elu: 1 in float: ONNX Runtime has no integer kernel for aten.elu.default in "),
        (Format.ONNX, "Softplus: 1 in float: ONNX Runtime has no integer kernel for aten.mish.default in "),
        (Format.TFLITE, "EXP: 2 in float: LiteRT has no integer kernel for aten."),
    ],
)
def test_a_note_says_which_activation_a_runtime_has_no_integer_kernel_for(
    lowered: Lowered, format_: Format, note: str
) -> None:
    assert [n for n in lowered.artifacts[format_].notes if n.startswith(note)]


@pytest.mark.parametrize("format_", Format)
def test_what_is_left_was_foretold(lowered: Lowered, format_: Format) -> None:
    assert surprises(lowered.artifacts[format_], lowered.graph) == ()


@pytest.mark.parametrize(
    ("format_", "operator"), [(Format.EXECUTORCH, "Clamp"), (Format.ONNX, "Softplus"), (Format.TFLITE, "EXP")]
)
def test_the_twin_names_the_first_operator_of_mish_in_floats(lowered: Lowered, format_: Format, operator: str) -> None:
    artifact = lowered.artifacts[format_]
    with pytest.raises(ModelError, match=rf"the twin does not model (this )?{operator}, (node|operator) \d+ of"):
        twin.load(artifact, artifact.path, RUNTIMES_OF[format_][0])
