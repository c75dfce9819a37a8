"""PT2E static post-training quantization: a float program and calibration data in, the one quantized graph out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgeds import program
from edgeds.eager import answers, batch, run_batch
from edgeds.errors import ModelError
from edgeds.quantize.annotate import SeparableConvQuantizer
from edgeds.quantize.canonical import FLOAT_REWRITES, REWRITES, Rewrite, canonicalize
from edgeds.quantize.canonical.implied_clamp import implied_clamp
from edgeds.quantize.equalize import equalize
from edgeds.quantize.fold_batch_norm import fold_batch_norm
from edgeds.quantize.headroom import add_headroom, values_of_few
from edgeds.quantize.lockstep import Lockstep
from edgeds.quantize.parameters import tensor_quantization
from edgeds.quantize.room import add_room
from edgeds.quantize.shared import merged, separate
from edgeds.quantize.steps import learn_steps
from edgeds.quantize.watch import Progress, calibrate
from edgeds.recipe import Recipe
from edgeds.spec import Array, DataCard, Program, Samples, TensorQuantization

RANGES = {"equalize", "headroom"}  # the techniques that do a layer good whatever is done to others
LAYERWISE = {"round", "bias"}  # the techniques that go through the network layer by layer

Told = Callable[[str, int, int], None]  # what is being done, how much of it, of how much


def quantize_program(
    float_program: Program, calibration: Samples, recipe: Recipe, told: Told = lambda name, done, total: None
) -> tuple[Program, tuple[TensorQuantization, ...], tuple[str, ...]]:
    """The PT2E graph with folded int8 weights, the scales of its tensors, and warnings.

    Batch-norm is folded; weights are int8 per channel, activations int8 per tensor; biases stay float (each runtime quantizes them
    to int32 with the product of input and weight scale). `told(name, done, total)` is called as each part of the work goes on.
    """
    made = _quantized(float_program, calibration, recipe, told)
    if "equalize" in recipe.techniques and LAYERWISE & set(recipe.techniques) and not made.learned:
        plain = _quantized(float_program, calibration, recipe.without("equalize"), _again(told))
        made = _better(made, plain, float_program, calibration)
    return made.graph, tensor_quantization(made.graph), made.warnings


@dataclass(frozen=True, slots=True)
class _Quantized:
    """A graph, whether its activation ranges were learned, and warnings."""

    graph: Program
    learned: bool
    warnings: tuple[str, ...]


def _quantized(float_program: Program, calibration: Samples, recipe: Recipe, told: Told) -> _Quantized:
    prepared, learned, warnings = _prepared(float_program, calibration, recipe, told)
    if LAYERWISE & set(recipe.techniques):
        lockstep = Lockstep(prepared, recipe.techniques, learned)
        warnings += lockstep.run(calibration, float_program.batch, _part(told, "round and correct"))
    folded = convert_pt2e(prepared)
    implied_clamp(folded)
    folded.graph.eliminate_dead_code()
    folded.recompile()
    return _Quantized(merged(_program(folded, float_program, calibration)), learned, warnings)


def _better(equalized: _Quantized, plain: _Quantized, float_program: Program, calibration: Samples) -> _Quantized:
    """The one whose outputs for the calibration samples are nearer to the float network's.

    Equalization is chosen before weights are rounded for each other. Where activations make little of the noise it can leave rounding less to
    choose from: EfficientNet-Lite0, calibrated on 48 views of 6 photos, has 21.6 dB on 60 others with it, 23.2 without (2026-11).
    """
    exact = answers(float_program, calibration)
    noise = [_noise(exact, answers(made.graph, calibration)) for made in (equalized, plain)]
    return plain if noise[1] < noise[0] else equalized


def _noise(exact: Sequence[Array], found: Sequence[Array]) -> float:
    """The noise-to-signal ratios of float outputs, summed up."""
    pairs = [(x, y) for x, y in zip(exact, found, strict=True) if x.dtype.kind == "f"]
    return sum(float(np.square(y - x).sum() / max(float(np.square(x).sum()), 1e-12)) for x, y in pairs)


def simulated(
    float_program: Program, calibration: Samples, recipe: Recipe, told: Told = lambda name, done, total: None
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The same graph as a module whose weights are still float, with a quantize and a dequantize each: for measuring one by one.

    What is done for the network as a whole, or layer by layer for what the layers before have lost, is left out of the recipe.
    """
    base = recipe.integers.split("+")[0]
    kept = [name for name in recipe.techniques if name in RANGES]
    before = Recipe("+".join((base, *kept))).keeping_float(recipe.kept_float)
    prepared, _, warnings = _prepared(float_program, calibration, before, told)
    return convert_pt2e(prepared, fold_quantize=False), warnings


def _prepared(
    float_program: Program, calibration: Samples, recipe: Recipe, told: Told
) -> tuple[fx.GraphModule, bool, tuple[str, ...]]:
    """The canonical graph with observers that have the ranges of the recipe, whether these were learned, and warnings."""
    size = float_program.batch
    module, warnings = canonical_graph(float_program, calibration)
    if recipe.techniques:
        fold_batch_norm(module)
    factors = None
    if "equalize" in recipe.techniques:
        module, factors, more = equalize(module, calibration, size, recipe, _part(told, "equalize"))
        warnings += more
    prepared = prepare_pt2e(module, SeparableConvQuantizer(recipe))
    few = values_of_few(prepared) if "headroom" in recipe.techniques else []
    seen = calibrate(prepared, calibration, size, few, _part(told, "calibrate"))
    if "headroom" in recipe.techniques:
        add_headroom(prepared, seen)
    told_steps = _part(told, "learn ranges")
    learned = "steps" in recipe.techniques and learn_steps(prepared, calibration, size, told_steps, factors)
    if "headroom" in recipe.techniques and not learned:
        add_room(prepared, calibration, size)
    return prepared, learned, warnings


def canonical_graph(float_program: Program, samples: Samples) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The float graph as it is quantized, each layer with tensors of its own, and warnings; checked on the first batch of samples."""
    return _canonical(separate(_with_values(float_program)), samples, float_program.batch, REWRITES)


def _again(told: Told) -> Told:
    return lambda name, done, total: told(f"{name}, without equalization", done, total)


def _part(told: Told, name: str) -> Progress:
    return lambda done, total: told(name, done, total)


def float_program_for_export(float_program: Program, samples: Samples) -> tuple[Program, tuple[str, ...]]:
    """The float program as float artifacts are made from it, and warnings: equal up to rounding, checked on the first sample."""
    module, warnings = _canonical(_with_values(float_program), samples, float_program.batch, FLOAT_REWRITES)
    return _program(module, float_program, samples), warnings


def card(samples: Samples) -> DataCard:
    """What the manifest says of these samples."""
    return DataCard(samples.source, len(samples), samples.digest)


def _canonical(
    module: fx.GraphModule, samples: Samples, size: int, rewrites: Sequence[Rewrite]
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    run_batch(module, samples, size=size)  # before anything relies on its answer
    return canonicalize(module, batch(samples, size=size), rewrites)


def _program(module: fx.GraphModule, like: Program, samples: Samples) -> Program:
    shaped = _shaped(module, batch(samples, size=like.batch))
    return program.from_graph_module(shaped, like.input_shapes, like.output_names)


def _with_values(float_program: Program) -> fx.GraphModule:
    """The program as a graph whose nodes know the shapes of their values."""
    module = program.to_graph_module(float_program)
    zeros = tuple(torch.zeros(shape) for shape in float_program.input_shapes)
    return _shaped(module, zeros)


def _shaped(module: fx.GraphModule, inputs: tuple[torch.Tensor, ...]) -> fx.GraphModule:
    """Records each node's value shape and dtype in `meta["val"]`, as torch.export does, by propagating fake tensors through the graph."""
    try:
        with torch.no_grad():
            FakeTensorProp(module, FakeTensorMode(allow_non_fake_inputs=True)).propagate(*inputs)
    except RuntimeError as error:
        raise ModelError(
            f"the exported graph does not run on inputs {[tuple(x.shape) for x in inputs]}: {error}"
        ) from error
    return module
