from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.spec import Array, Artifact, Compute, Precision, Program, Runtime, Samples


def export(program: Program, precision: Precision, path: Path) -> Artifact:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # executorch warns of its own deprecations
        from edgeds.export import executorch

        return executorch.export(program, precision, path)


@pytest.mark.parametrize("name", ["executorch-int8", "executorch-fp32"])
def test_one_delegate_does_all_the_work(tiny_artifacts: Any, name: str) -> None:
    artifact = tiny_artifacts.artifacts[name]
    assert (artifact.delegates, artifact.outside, artifact.notes) == (1, (), ())


def test_the_only_conversions_are_at_the_two_ends(tiny_artifacts: Any) -> None:
    assert tiny_artifacts.artifacts["executorch-int8"].count(Compute.CONVERT) == 2


def test_the_int8_pad_is_inside_of_the_delegate(tiny_artifacts: Any) -> None:
    pads = [o for o in tiny_artifacts.artifacts["executorch-int8"].operators if o.name == "StaticConstantPad"]
    assert [(o.compute, o.count) for o in pads] == [(Compute.INT8, 1)]


def test_torch_and_the_stock_partitioner_are_untouched_after_an_export(tiny: Any, tmp_path: Path) -> None:
    from torch.fx.traceback import NodeSource

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
        from executorch.backends.xnnpack.partition.config.generic_node_configs import ConstantPadConfig
    before = (list(ALL_PARTITIONER_CONFIGS), ConstantPadConfig.supported_precision_types)
    first = export(tiny.graph, Precision.INT8, tmp_path / "a.pte")
    assert (list(ALL_PARTITIONER_CONFIGS), ConstantPadConfig.supported_precision_types) == before
    assert first.delegates == 1
    assert not hasattr(NodeSource, "__deepcopy__")
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes import XNNPACKPassManager

    assert xnnpack_preprocess.XNNPACKPassManager is XNNPACKPassManager


def test_what_is_left_out_of_a_lowering_changes_no_byte(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tiny.graph, Precision.INT8, tmp_path / "ours.pte")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        from edgeds.export import executorch, xnnpack_configs
    monkeypatch.setattr(executorch, "needed_passes", contextlib.nullcontext)
    stock = XnnpackPartitioner(configs=xnnpack_configs.partitioner_configs())
    monkeypatch.setattr(xnnpack_configs, "partitioner", lambda: stock)
    export(tiny.graph, Precision.INT8, tmp_path / "stock.pte")
    assert (tmp_path / "ours.pte").read_bytes() == (tmp_path / "stock.pte").read_bytes()


@pytest.fixture(scope="module")
def two_sided(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> tuple[Program, tuple[Array, ...]]:
    """A quantized graph of two inputs of one shape, with a softmax in its middle that stays in float, and two outputs."""
    import torch
    from torch import nn

    from edgeds.quantize.pt2e import quantize_program

    class TwoSided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)
            self.last = nn.Conv2d(4, 4, 1)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.first(a) - 2 * self.second(b)
            return self.last(x.cumsum(1)), self.first(a).relu()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = TwoSided()
    shape = (1, 2, 4, 4)
    a, b = np.random.default_rng(0).normal(size=(2, 8, *shape[1:])).astype(np.float32)
    graph, _, _ = quantize_program(captured(module, shape, shape), samples_of(a, b), Recipe("fast"))
    return graph, (a, b)


def test_two_inputs_stay_apart_and_what_runs_outside_of_the_delegate_is_named(
    two_sided: tuple[Program, tuple[Array, ...]], evaluate: Callable[..., list[Array]], tmp_path: Path
) -> None:
    """ExecuTorch takes two example inputs that are one tensor for one input; and it has no cumulative sum in XNNPACK."""
    from edgeds.quantize.parameters import output_scales

    graph, inputs = two_sided
    artifact = export(graph, Precision.INT8, tmp_path / "x.pte")
    outputs = host.run(artifact, artifact.path, Runtime.EXECUTORCH, inputs).outputs
    for got, expected, scale in zip(outputs, evaluate(graph, *inputs), output_scales(graph), strict=True):
        assert float(np.abs(got - expected).max()) <= 2.01 * scale
    assert "aten::cumsum" in artifact.outside
    assert artifact.delegates >= 2
    assert [note for note in artifact.notes if note.startswith("aten::cumsum: 1 outside of the delegates")]
    assert {note.split(": ")[0] for note in artifact.notes} >= set(artifact.outside)
