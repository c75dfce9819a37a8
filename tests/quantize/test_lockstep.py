"""Rounding and bias correction in lockstep, and what PT2E makes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from edgeds.drift.metrics import sqnr_db
from edgeds.errors import InputError
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.bias import mean_error
from edgeds.quantize.gram import gram
from edgeds.quantize.lockstep import Lockstep
from edgeds.quantize.pt2e import _with_values, quantize_program
from edgeds.quantize.rounding import damped, rounded
from edgeds.quantize.weighted import Weighted, weighted_layers
from edgeds.recipe import Recipe
from edgeds.spec import Array, Program, Samples
from tests.quantize.techniques import SHAPE, Gated, Inverted, Sound, folded, inputs, seeded

NETS = {"inverted": (Inverted, SHAPE), "gated": (Gated, SHAPE), "sound": (Sound, Sound.input_shape)}
Quantized = Callable[[str, str], tuple[Program, Program, tuple[str, ...]]]


@pytest.fixture(scope="module")
def quantized(captured: Callable[..., Program], samples_of: Callable[..., Samples]) -> Quantized:
    """The float program of a net, its quantized graph by a recipe, and the warnings."""

    def make(name: str, recipe: str) -> tuple[Program, Program, tuple[str, ...]]:
        net, shape = NETS[name]
        program = captured(seeded(net), shape)
        graph, _, warnings = quantize_program(program, samples_of(inputs(shape=shape)), Recipe(recipe))
        return program, graph, warnings

    return make


def layer_of(
    module: nn.Module, shape: tuple[int, ...], captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> Weighted:
    program = captured(module, shape)
    return next(iter(weighted_layers(folded(program, samples_of(inputs(2, shape))))))


def test_an_input_that_is_constant_has_no_curvature_however_far_from_0_it_is(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    layer = layer_of(nn.Conv2d(2, 2, 1, groups=2), (1, 2, 5, 5), captured, samples_of)
    x = torch.from_numpy(inputs(20, (1, 2, 5, 5)))
    x[:, 0] = 1234.5
    found = gram(layer, list(torch.split(x, 1)), centred=True)
    assert found[0].abs().max() < 1e-6
    weight, scale = torch.ones(2, 1, 1), torch.full((2, 1), 0.3)
    assert rounded(weight, scale, damped(found)).tolist() == [[[3.0]], [[3.0]]]


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(6, 4, 1),
        nn.Conv2d(6, 4, 1, stride=2),
        nn.Conv2d(6, 12, 3, 2, 1, groups=6),
        nn.Conv2d(6, 4, (3, 5), padding=(1, 2), groups=2, dilation=(2, 1)),
    ],
)
def test_patches_times_the_matrix_are_the_layers_output(
    module: nn.Module, captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    layer = layer_of(module, (1, 6, 9, 9), captured, samples_of)
    x = torch.from_numpy(inputs(3, (1, 6, 9, 9)))
    expected = layer.compute(x, layer.weight, torch.zeros_like(layer.bias))
    found = layer.matrix(layer.weight) @ layer.patches(x)
    shaped = found.flatten(0, 1).view(expected.shape[1], 3, *expected.shape[2:]).transpose(0, 1)
    assert torch.allclose(shaped, expected, atol=1e-5)


def test_the_gram_matrix_is_that_of_the_patches_without_their_mean(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    layer = layer_of(nn.Conv2d(4, 2, 1), (1, 4, 5, 5), captured, samples_of)
    x = torch.from_numpy(inputs(20, (1, 4, 5, 5))) + 3
    rows = x.transpose(0, 1).flatten(1)
    assert torch.allclose(
        gram(layer, list(torch.split(x, 1)), centred=True)[0], torch.cov(rows, correction=0), atol=1e-4
    )
    assert torch.allclose(
        gram(layer, list(torch.split(x, 1)), centred=False)[0], rows @ rows.T / rows.shape[1], atol=1e-3
    )


def test_the_mean_error_is_that_of_each_channel() -> None:
    shift = torch.tensor([1.0, -2.0, 0.5])
    image, line = torch.randn(2, 3, 4, 4), torch.randn(2, 3)
    assert torch.allclose(mean_error([image + shift.view(3, 1, 1)], [image]), shift, atol=1e-6)
    assert torch.allclose(mean_error([line + shift], [line]), shift, atol=1e-6)


def test_bias_correction_leaves_no_mean_error_at_the_output(
    quantized: Quantized, evaluate: Callable[..., list[Array]]
) -> None:
    def mean_errors(recipe: str) -> Array:
        program, graph, _ = quantized("inverted", recipe)
        unseen = inputs()  # what was calibrated on
        wrong: Array = np.abs((evaluate(program, unseen)[0] - evaluate(graph, unseen)[0]).mean(0))
        return wrong

    step = quantized("inverted", "w8c-a8t-minmax")[1].nodes[-2].args[1]
    corrected = mean_errors("w8c-a8t-minmax+bias")
    assert corrected.max() < 0.25 * step  # the output's own rounding has a mean error as well
    assert corrected.max() < mean_errors("w8c-a8t-minmax").max()


@pytest.mark.parametrize("name", NETS)
def test_best_is_closer_to_float_than_min_max(
    name: str, quantized: Quantized, evaluate: Callable[..., list[Array]]
) -> None:
    unseen = inputs(48, NETS[name][1], seed=1)

    def closeness(recipe: str) -> float:
        program, graph, warnings = quantized(name, recipe)
        assert warnings == ()
        return sqnr_db(evaluate(program, unseen)[0], evaluate(graph, unseen)[0])

    assert closeness("best") > closeness("w8c-a8t-minmax") + 1


def test_weights_arrive_with_the_scales_that_they_were_rounded_with(quantized: Quantized) -> None:
    _, plain, _ = quantized("inverted", "w8c-a8t-minmax")
    _, made, _ = quantized("inverted", "w8c-a8t-minmax+round")
    scales = [
        {name: t for name, t in graph.tensors.items() if t.dtype == np.float32 and "scale" in name}
        for graph in (plain, made)
    ]
    assert scales[0].keys() == scales[1].keys() and len(scales[0]) == 7
    assert all(np.allclose(scales[0][name], scales[1][name], rtol=1e-5) for name in scales[0])
    weights = [[t for t in graph.tensors.values() if t.dtype == np.int8] for graph in (plain, made)]
    moved = [np.abs(a.astype(int) - b) for a, b in zip(*weights, strict=True)]
    assert max(m.max() for m in moved) >= 1
    assert sum((m <= 2).sum() for m in moved) > 0.99 * sum(m.size for m in moved)


def test_the_same_samples_give_the_same_bytes(quantized: Quantized) -> None:
    first, second = (quantized("gated", "best")[1] for _ in range(2))
    assert first.nodes == second.nodes
    assert all(np.array_equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_each_part_of_the_work_tells_how_far_it_is_and_ends(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    told: dict[str, list[float]] = {}
    program = captured(seeded(Sound), Sound.input_shape)
    samples = samples_of(inputs(shape=Sound.input_shape))
    quantize_program(
        program, samples, Recipe("best"), lambda name, done, total: told.setdefault(name, []).append(done / total)
    )
    parts = ["calibrate", "learn ranges", "round and correct"]
    assert list(told) == ["equalize", *parts, *(f"{name}, without equalization" for name in parts)]
    for news in told.values():
        assert news == sorted(news) and news[-1] == 1


def test_short_names_stand_for_recipes_in_full() -> None:
    assert Recipe("fast").name == "w8c-a8t-histogram"
    assert (Recipe("best").observer, Recipe("best").techniques) == (
        "minmax",
        ("equalize", "headroom", "steps", "round", "bias"),
    )
    assert Recipe("w8c-a8t-histogram+bias").techniques == ("bias",)
    without = Recipe("best+float:a").without("equalize")
    assert without.name == "w8c-a8t-minmax+headroom+steps+round+bias+float:a"


@pytest.mark.parametrize(
    "name", ["w4", "best+bias", "w8c-a8t-minmax+bias+round", "w8c-a8t-minmax+", "w8c-a8t-minmax+bias+bias"]
)
def test_a_recipe_out_of_grammar_is_refused_with_the_grammar(name: str) -> None:
    with pytest.raises(
        InputError, match=r"choose from fast, best, .* with any of \+equalize\+headroom\+steps\+round\+bias behind"
    ):
        Recipe(name)


def test_a_layer_that_no_technique_knows_is_left_alone_and_named(
    captured: Callable[..., Program], samples_of: Callable[..., Samples]
) -> None:
    samples = samples_of(inputs(4, Sound.input_shape))
    module = _with_values(captured(seeded(Sound), Sound.input_shape))  # not canonical: its convolutions are 1-D
    prepared = prepare_pt2e(module, SeparableConvQuantizer(Recipe("w8c-a8t-minmax")))
    with torch.no_grad():
        for k in range(4):
            prepared(torch.from_numpy(samples.inputs[0][k : k + 1]))
    warnings = Lockstep(prepared, ("round", "bias")).run(samples, 1, lambda done, total: None)
    assert warnings == tuple(
        f"rounding and bias correction left {name} alone: they know 2-D convolutions and linear layers"
        for name in ("depthwise", "pointwise")
    )
