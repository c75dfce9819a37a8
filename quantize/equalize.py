"""Cross-layer equalization: every channel is scaled so that all of a tensor's channels use its int8 range, and what reads it scales back.

The idea is arxiv.org/abs/1906.04721's; here the scales of all layers are chosen together, by the noise that they make at the outputs
(edgeds.quantize.factors), residual streams included, and a ReLU6 stays one: only channels that it never clips are scaled, and it clips none of
them then either. The float network computes the same; this is checked, and channels where it does not are left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import fx
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.eager import batch
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.balance import ChannelFactors
from edgeds.quantize.canonical.edit import arguments
from edgeds.quantize.channels import Channels, channels
from edgeds.quantize.factors import Activation, Bounds, Reader, best_factors
from edgeds.quantize.operators import CLAMPS
from edgeds.quantize.reach import MARGIN, reach, seen_reach
from edgeds.quantize.sensitivity import sensitivities
from edgeds.quantize.watch import Progress, Statistics, channel_statistics
from edgeds.quantize.weighted import Weighted, put_tensor, weighted_layers
from edgeds.recipe import Recipe
from edgeds.spec import Samples

MOST = 16.0  # the greatest factor: four of eight bits; more trusts a narrow channel's statistics too far
CHECKED = 8  # samples on which the scaled network is compared with the original
TOLERANCE = 1e-4  # of a channel's largest value


@dataclass(frozen=True, slots=True)
class _Known:
    """All that is known of a network when its factors are chosen."""

    module: fx.GraphModule
    channels: Channels
    layers: tuple[Weighted, ...]
    seen: dict[fx.Node, Statistics]
    sensitivity: dict[fx.Node, torch.Tensor]


def equalize(
    module: fx.GraphModule, samples: Samples, size: int, recipe: Recipe, progress: Progress
) -> tuple[fx.GraphModule, ChannelFactors | None, tuple[str, ...]]:
    """The network with scaled channels, its factors if it has any, and warnings. `module` has no batch-norm (fold_batch_norm) and takes `size` samples at once."""
    found = channels(module)
    warnings = tuple(
        f"equalization leaves the channels around {name} alone: it is not known to be homogeneous"
        for name in found.unknown
    )
    layers = tuple(layer for layer in weighted_layers(module) if layer.node in found.factor)
    groups = [[node for node in group if node in found.factor] for group in _groups_of_one_step(module, recipe)]
    wanted = {node for group in groups for node in group} | {_before(clamp) for clamp in found.limit}
    wanted |= {node for layer in layers for node in (layer.node, _source(layer))}
    wanted = {node for node in wanted if node in found.factor}
    half = _halves(progress)
    seen = channel_statistics(module, samples, size, wanted, half[0])
    sensitivity = sensitivities(module, samples, size, wanted, half[1])
    known = _Known(module, found, layers, seen, sensitivity)
    if found.count < 2 or not sensitivity:
        return module, None, warnings
    limits, readers = bounds(found, seen), _readers(known)
    scale, _, _ = best_factors(_activations(known, groups), readers, limits)
    made, wrong = _checked(known, scale, samples, size)
    if made is None:
        return module, None, (*warnings, "equalization changed the float output and was undone")
    for values in (scale, limits.low, limits.high):
        values[wrong] = 1.0
    factors = ChannelFactors(scale, {node.name: of for node, of in found.factor.items()}, limits, readers)
    return made, factors, warnings


def bounds(found: Channels, seen: dict[fx.Node, Statistics]) -> Bounds:
    """A channel that a clamp clips, or could, keeps its scale; one that it does not is scaled no further than up to the limit."""
    high = torch.full((found.count,), MOST)
    low = 1 / high
    low[0] = high[0] = 1.0
    for clamp, limit in found.limit.items():
        if clamp not in found.factor:
            continue
        source = _before(clamp)
        _, above = reach(source, seen[source])
        factor = found.factor[clamp]
        clipped = factor[above >= MARGIN * limit]
        high = high.scatter_reduce(0, factor, MARGIN * limit / above.clamp_min(1e-12), "amin").clamp_min(1.0)
        low[clipped] = high[clipped] = 1.0
    return Bounds(low, high)


def scaled(known: _Known, scale: torch.Tensor) -> fx.GraphModule:
    """A copy of the network with each channel scaled: weights and biases by the scale of what they give, over that of what they read."""
    module = copy.deepcopy(known.module)
    nodes = {node.name: node for node in module.graph.nodes}
    for layer in known.layers:
        given, read = scale[known.channels.factor[layer.node]], _read(known, layer, scale)
        over = (layer.kernels(layer.weight) / read[:, None, :, None]).reshape(layer.weight.shape)
        put_tensor(module, nodes[layer.constant.name], over * given.view(-1, *[1] * (over.ndim - 1)))
        bias = arguments(nodes[layer.node.name])["bias"]
        if bias is not None:
            put_tensor(module, bias, layer.bias * given)
    return module


def _checked(
    known: _Known, scale: torch.Tensor, samples: Samples, size: int
) -> tuple[fx.GraphModule | None, torch.Tensor]:
    """The scaled network, and the factors left out [k] because under them it does not compute what it should; None where it never does."""
    left_out: set[int] = set()
    for _ in range(3):
        chosen = torch.tensor(sorted(left_out), dtype=torch.long)
        module = scaled(known, scale.index_fill(0, chosen, 1.0))
        wrong = _wrong_factors(known, module, scale.index_fill(0, chosen, 1.0), samples, size)
        if not wrong:
            return module, chosen
        left_out |= wrong
    return None, torch.tensor(sorted(left_out))


def _wrong_factors(known: _Known, module: fx.GraphModule, scale: torch.Tensor, samples: Samples, size: int) -> set[int]:
    """The factors of the first value in which the scaled network is not the scaled value of the original; {0} where an output differs."""
    clamped = [node for node in known.channels.factor if node.target in CLAMPS]
    outputs = list(known.module.graph.output_node().all_input_nodes)
    watched = {node.name for node in (*clamped, *outputs)}
    fixed = torch.zeros(1, dtype=torch.long)
    wrong: set[int] = set()
    for first in range(0, min(CHECKED, len(samples)), size):
        inputs = batch(samples, first, size)
        right, made = (_values(graph, inputs, watched) for graph in (known.module, module))
        for node in (*clamped, *outputs):
            factor = known.channels.factor.get(node, fixed) if node in clamped else fixed
            wrong |= set(factor[_differs(right[node.name], made[node.name], scale[factor])].tolist())
    return wrong


def _differs(right: torch.Tensor, made: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Whether each channel is off by more than rounding; [C], or [1] for all of a value."""
    expected, found = (v.transpose(0, 1).flatten(1) if len(scale) > 1 else v.reshape(1, -1) for v in (right, made))
    expected = expected * scale[:, None]
    error = (expected - found).abs().amax(1)
    return error > TOLERANCE * expected.abs().amax().clamp_min(1e-12)


def _values(module: fx.GraphModule, inputs: tuple[torch.Tensor, ...], names: Iterable[str]) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}

    class Keep(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if n.name in names:
                kept[n.name] = value
            return value

    with torch.no_grad():
        Keep(module).run(*inputs)
    return kept


def _groups_of_one_step(module: fx.GraphModule, recipe: Recipe) -> list[list[fx.Node]]:
    """The activations that will be quantized, those with one scale together: as prepare_pt2e puts its observers."""
    prepared = prepare_pt2e(copy.deepcopy(module), SeparableConvQuantizer(recipe))
    nodes = {node.name: node for node in module.graph.nodes}
    groups: dict[int, list[fx.Node]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].name in nodes and node.args[0].op != "get_attr":
            groups.setdefault(id(getattr(prepared, str(node.target))), []).append(nodes[node.args[0].name])
    return list(groups.values())


def _activations(known: _Known, groups: list[list[fx.Node]]) -> list[list[Activation]]:
    made = [[_activation(known, node) for node in group if node in known.sensitivity] for group in groups]
    return [group for group in made if group]


def _activation(known: _Known, node: fx.Node) -> Activation:
    seen = known.seen[node]
    below, above = seen_reach(node, seen)
    source = node.args[0] if node.target in CLAMPS else node
    if isinstance(source, fx.Node) and source in {layer.node for layer in known.layers}:
        reached = reach(source, known.seen[source])
        if node in known.channels.limit:
            above = reached[1].clamp_max(known.channels.limit[node])
        elif node.target not in CLAMPS:
            below, above = reached
        # behind a plain ReLU calibration is trusted: batch-norm's bound costs a DS-CNN on Fashion-MNIST 0.35 dB (2026-11)
    return Activation(known.channels.factor[node], below, above, known.sensitivity[node])


def _readers(known: _Known) -> list[Reader]:
    """The layers that mix channels: the weights of a depthwise one have the same relative noise whatever the factors."""
    return [
        _reader(known, layer)
        for layer in known.layers
        if layer.groups < len(known.seen[_source(layer)].low) and layer.node in known.sensitivity
    ]


def _reader(known: _Known, layer: Weighted) -> Reader:
    source = _source(layer)
    factor = known.channels.factor[source].view(layer.groups, -1)
    weight = layer.kernels(layer.weight)
    power = known.seen[source].mean_square.view_as(factor) * weight.shape[3]
    sensitivity = known.sensitivity[layer.node].view(layer.groups, -1)
    return Reader(factor, weight.abs().amax(3), power, sensitivity)


def _read(known: _Known, layer: Weighted, scale: torch.Tensor) -> torch.Tensor:
    """The scale of each channel that a layer reads, [groups, I/groups]."""
    return scale[known.channels.factor[_source(layer)]].view(layer.groups, -1)


def _source(layer: Weighted) -> fx.Node:
    return _before(layer.node)


def _before(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _halves(progress: Progress) -> tuple[Progress, Progress]:
    return (lambda done, total: progress(done, 2 * total)), (lambda done, total: progress(total + done, 2 * total))
