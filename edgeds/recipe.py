"""How a model is quantized, as a name that says it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeds.errors import InputError

# What a recipe can do to a model before and while it is quantized, in the order in which it is done.
TECHNIQUES = ("equalize", "headroom", "steps", "round", "bias")
# Short names for recipes.
RECIPES = {"fast": "w8c-a8t-histogram", "best": "w8c-a8t-minmax+equalize+headroom+steps+round+bias"}
# Behind a recipe's name: the layers that stay in float, with commas between them.
KEEPING_FLOAT = "+float:"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is quantized. `name` is a grammar: weights, activations, range observer, then techniques, each with a plus.

    `w8c-a8t-minmax+equalize+headroom+steps+round+bias` has all of them; any may be left out. `fast` and `best` are taken for what they stand for.
    Learned steps are left out by themselves where they gain little on calibration samples that they were not learned from, and where they are,
    equalization is where the rounded network is no better with it.
    Behind that, `+float:features.0,classifier` names layers, or modules with all layers inside, that stay in float.
    """

    name: str = RECIPES["best"]

    def __post_init__(self) -> None:
        integers, separator, kept = self.name.partition(KEEPING_FLOAT)
        integers = RECIPES.get(integers, integers)
        object.__setattr__(self, "name", integers + separator + kept)
        base, *techniques = integers.split("+")
        known = ("w8c-a8t-histogram", "w8c-a8t-minmax")
        if base not in known or techniques != [name for name in TECHNIQUES if name in techniques]:
            raise InputError(
                f"unknown recipe {integers!r}; choose from {', '.join((*RECIPES, *known))}, "
                f"the last two with any of +{'+'.join(TECHNIQUES)} behind, in this order"
            )

    @property
    def integers(self) -> str:
        """The part of the name that says how the integer layers are quantized."""
        return self.name.partition(KEEPING_FLOAT)[0]

    @property
    def observer(self) -> str:
        """How activation ranges are found: `histogram` or `minmax`."""
        return self.integers.split("+")[0].rsplit("-", 1)[1]

    @property
    def techniques(self) -> tuple[str, ...]:
        """What is done beside that, in order."""
        return tuple(self.integers.split("+")[1:])

    @property
    def kept_float(self) -> tuple[str, ...]:
        """The names of what stays in float."""
        return tuple(filter(None, self.name.partition(KEEPING_FLOAT)[2].split(",")))

    def without(self, technique: str) -> Recipe:
        """The same recipe without one of its techniques."""
        base = self.integers.split("+")[0]
        kept = [name for name in self.techniques if name != technique]
        return Recipe("+".join((base, *kept))).keeping_float(self.kept_float)

    def keeping_float(self, names: Sequence[str]) -> Recipe:
        """The same recipe with these layers left in float, and no others."""
        return Recipe(self.integers + (KEEPING_FLOAT + ",".join(sorted(set(names))) if names else ""))
