"""Equalization changes nothing in float, and makes narrow channels wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from edgeds.drift.metrics import sqnr_db
from edgeds.quantize.channels import Channels, channels
from edgeds.quantize.equalize import bounds, equalize
from edgeds.quantize.fold_batch_norm import NORM
from edgeds.quantize.pt2e import quantize_program
from edgeds.quantize.reach import MARGIN, seen_reach
from edgeds.quantize.watch import channel_statistics
from edgeds.quantize.weighted import weighted_layers
from edgeds.recipe import Recipe
from edgeds.spec import Array, Program, Samples
from tests.quantize.techniques import SHAPE, Block, Gated, Inverted, Sound, folded, inputs, seeded

NETS = {"inverted": (Inverted, SHAPE), "gated": (Gated, SHAPE), "sound": (Sound, Sound.input_shape)}
Make = Callable[..., tuple[Program, fx.GraphModule, Samples]]


def silent(done: int, total: int) -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def graph_of(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Make:
    """A net's program, its canonical graph without batch-norm, and its calibration samples."""

    def make(net: Callable[[], nn.Module], shape: tuple[int, ...] = SHAPE) -> tuple[Program, fx.GraphModule, Samples]:
        program, samples = captured(seeded(net), shape), samples_of(inputs(shape=shape))
        return program, folded(program, samples), samples

    return make


def answers(module: fx.GraphModule, arrays: Array) -> Array:
    with torch.no_grad():
        found = [tree_leaves(module(torch.from_numpy(arrays[k : k + 1]))) for k in range(len(arrays))]
    return np.concatenate([output.numpy() for (output,) in found])


def known(module: fx.GraphModule) -> tuple[Channels, dict[str, Tensor]]:
    """The factors, and those of each layer's output by the name of the user's module."""
    found = channels(module)
    return found, {layer.name: found.factor[layer.node] for layer in weighted_layers(module)}


@pytest.mark.parametrize("name", NETS)
def test_the_equalized_network_computes_the_same_in_float(name: str, graph_of: Make) -> None:
    _, module, samples = graph_of(*NETS[name])
    made, _, warnings = equalize(module, samples, 1, Recipe("best"), silent)
    unseen = inputs(32, NETS[name][1], seed=1)
    right, found = answers(module, unseen), answers(made, unseen)
    assert warnings == ()
    assert np.abs(right - found).max() <= 1e-4 * np.abs(right).max()
    weights = [[layer.weight for layer in weighted_layers(graph)] for graph in (module, made)]
    assert any(not torch.allclose(a, b, rtol=0.1) for a, b in zip(*weights, strict=True))  # and something was scaled


def test_equalized_channels_are_quantized_with_less_noise(graph_of: Make, evaluate: Callable[..., list[Array]]) -> None:
    program, _, samples = graph_of(Inverted)
    unseen = inputs(32, seed=1)
    right = evaluate(program, unseen)[0]
    plain, equalized = (
        sqnr_db(right, evaluate(quantize_program(program, samples, Recipe(name))[0], unseen)[0])
        for name in ("w8c-a8t-minmax", "w8c-a8t-minmax+equalize")
    )
    assert equalized > plain + 2


def test_a_residual_add_ties_the_channels_of_both_sides(graph_of: Make) -> None:
    _, found = known(graph_of(Inverted)[1])
    assert torch.equal(found["stem.conv"], found["project.conv"])
    assert len({*found["stem.conv"].tolist(), *found["expand.conv"].tolist()}) == 8 + 16


def test_a_depthwise_layer_and_a_concatenation_have_factors_of_their_own(graph_of: Make) -> None:
    _, module, _ = graph_of(Inverted)
    found, layers = known(module)
    joined = next(node for node in module.graph.nodes if node.target is torch.ops.aten.cat.default)
    assert found.factor[joined].tolist() == [*layers["multiplied.conv"].tolist(), *layers["grouped.conv"].tolist()]
    assert min(layers["depthwise.conv"]) > 0


def test_a_shuffle_takes_the_factors_with_the_channels(graph_of: Make) -> None:
    _, module, _ = graph_of(Gated)
    found, layers = known(module)
    pooled = next(node for node in module.graph.nodes if node.target is torch.ops.aten.max_pool2d.default)
    project = layers["depthwise.conv"]
    assert found.factor[pooled].tolist() in (project.view(2, 4).T.flatten().tolist(), [0] * 8)


def test_the_outputs_the_inputs_and_gates_are_not_scaled(graph_of: Make) -> None:
    _, layers = known(graph_of(Gated)[1])
    assert set(layers["classifier"].tolist()) == {0} and set(layers["excite"].tolist()) == {0}


def test_an_unknown_operator_is_left_alone_and_named(graph_of: Make) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Block(3, 8), Block(8, 4)

        def forward(self, x: Tensor) -> Any:
            return self.second(F.relu(self.first(x)).cumsum(2)).mean((2, 3))

    _, module, samples = graph_of(Odd)
    _, _, warnings = equalize(module, samples, 1, Recipe("best"), silent)
    assert warnings == ("equalization leaves the channels around cumsum alone: it is not known to be homogeneous",)


def test_a_channel_that_its_clamp_clips_keeps_its_scale(graph_of: Make) -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Block(3, 4), Block(4, 5)
            self.first.norm.weight.data = torch.tensor([0.1, 8.0, 0.1, 0.1])
            self.first.norm.bias.data = torch.tensor([0.5, 3.0, 0.5, -9.0])

        def forward(self, x: Tensor) -> Any:
            return self.second(F.relu6(self.first(x))).mean((2, 3))

    _, module, samples = graph_of(Clipped)
    made, _, _ = equalize(module, samples, 1, Recipe("best"), silent)
    before, after = (next(iter(weighted_layers(graph))).weight.flatten(1).norm(dim=1) for graph in (module, made))
    ratio = after / before
    assert ratio[1] == pytest.approx(1)
    assert min(ratio[0], ratio[2]) > 2


def test_a_clamp_behind_a_sum_clips_what_it_clipped(graph_of: Make) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.other, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)
            self.first.weight.data[0] *= 30
            self.first.weight.data[1:] *= 0.1

        def forward(self, x: Tensor) -> Any:
            return self.last(F.relu6(self.first(x) + self.other(x))).mean((2, 3))

    _, module, samples = graph_of(Sum)
    found = channels(module)
    seen = channel_statistics(module, samples, 1, found.factor, silent)
    (clamp,) = found.limit
    limits = bounds(found, seen)
    factor, reached = found.factor[clamp], seen[clamp.args[0]].high  # type: ignore[index]
    assert reached[0] > 6 > reached[1:].max()
    assert limits.low[factor[0]] == limits.high[factor[0]] == 1
    assert bool((limits.high[factor[1:]] * reached[1:] <= 6 * MARGIN * 1.0001).all())


def test_batch_norm_leaves_its_mean_and_deviation_when_it_is_folded(graph_of: Make) -> None:
    program, module, samples = graph_of(Inverted)
    stem = next(iter(weighted_layers(module))).node
    assert stem.meta[NORM][0].tolist() == pytest.approx(program.tensors["stem.norm.bias"].tolist())
    assert torch.ops.aten.batch_norm.default not in {node.target for node in module.graph.nodes}
    assert len(samples) == 24


def test_of_values_of_which_a_sample_has_few_channels_may_reach_further_than_calibration_saw(graph_of: Make) -> None:
    _, module, samples = graph_of(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), (1, 6))
    first = next(node for node in module.graph.nodes if node.target is torch.ops.aten.linear.default)
    seen = channel_statistics(module, samples, 1, [first], silent)[first]
    below, above = seen_reach(first, seen)
    assert (above >= seen.high.clamp_min(0)).all() and (below >= -seen.low).all()
    assert float((above / seen.high.clamp_min(1e-6)).median()) > 1.2
