"""`best` against `fast` where it is hardest for it: users' nets with random weights, calibrated on sixteen samples of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import fx

from edgeds.data.samples import random_samples
from edgeds.drift.metrics import sqnr_db
from edgeds.eager import answers
from edgeds.models import load_model
from edgeds.pipeline import capture
from edgeds.program import digest
from edgeds.quantize import pt2e
from edgeds.quantize.pt2e import quantize_program
from edgeds.quantize.weighted import put_tensor, weighted_layers
from edgeds.recipe import Recipe
from edgeds.spec import Program, Samples

USERS = Path(__file__).parents[1] / "models/any_models.py"
# What is left to chance: of four logits that use the whole of their range, one step more or less.
TOLERANCE_DB = 1.0
# Values of which a sample has few were clipped in new samples: Fusion lost 2 to 5 dB by equalization once, and gains as much since.
LEAST_GAIN_DB = {"Fusion": 2.0, "Keywords": 1.5, "Siamese": 3.0, "FourAtOnce": -TOLERANCE_DB, "SSD": -TOLERANCE_DB}


def decibels(program: Program, graph: Program, samples: Samples) -> float:
    return min(sqnr_db(x, y) for x, y in zip(answers(program, samples), answers(graph, samples), strict=True))


@pytest.mark.parametrize("name", LEAST_GAIN_DB)
def test_best_is_no_worse_than_fast_on_samples_that_it_has_not_seen(name: str) -> None:
    model = load_model(f"{USERS}:{name}")
    program = capture(model, "random").program
    seen, new = (random_samples(model.input_shapes, n, seed) for n, seed in ((16, 0), (128, 5)))
    fast, best = (quantize_program(program, seen, Recipe(recipe))[0] for recipe in ("fast", "best"))
    assert decibels(program, best, new) - decibels(program, fast, new) > LEAST_GAIN_DB[name]


@pytest.mark.parametrize("spoilt", [True, False], ids=["spoilt", "sound"])
def test_equalization_is_left_out_where_the_rounded_network_is_worse_with_it(
    spoilt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(f"{USERS}:Keywords")
    program, samples = capture(model, "random").program, random_samples(model.input_shapes, 16, 0)
    recipe = Recipe("w8c-a8t-minmax+equalize+headroom+round+bias")

    def spoil(module: fx.GraphModule, *rest: Any) -> tuple[fx.GraphModule, None, tuple[str, ...]]:
        first = next(weighted_layers(module))
        put_tensor(module, first.constant, 3 * first.weight)
        return module, None, ("spoilt",)

    if spoilt:
        monkeypatch.setattr(pt2e, "equalize", spoil)
    made, _, warnings = quantize_program(program, samples, recipe)
    plain, _, _ = quantize_program(program, samples, recipe.without("equalize"))
    assert (digest(made) == digest(plain)) is spoilt
    assert "spoilt" not in warnings
