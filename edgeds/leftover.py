"""What keeps an artifact from being fast integers from end to end, foretold from the model alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgeds.spec import Format


class LeftoverKind(StrEnum):
    """What keeps a step of a model from being a fast integer operator. The order is the one of reports, the worst first."""

    REFUSED = "refused"  # the format has no such operator: there is no artifact
    OUTSIDE = "outside"  # outside of ExecuTorch's delegate, which it splits
    BEHIND = "behind"  # outside of it as well, but behind everything that it computes
    FLOAT = "float"
    TRANSPOSE = "transpose"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Leftover:
    """The steps of one operator that are left. `places` are the user's modules, one for each step; `mend` is what to do about it."""

    kind: LeftoverKind
    operator: str
    places: tuple[str, ...]
    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left of an int8 artifact of one format; nothing where it is integers from end to end, each at its best."""

    format: Format
    leftovers: tuple[Leftover, ...]

    @property
    def refused(self) -> bool:
        """Whether there will be no artifact."""
        return any(found.kind is LeftoverKind.REFUSED for found in self.leftovers)

    @property
    def one_delegate(self) -> bool:
        """Whether ExecuTorch's artifact is one delegate, with nothing outside."""
        return not any(found.kind is LeftoverKind.OUTSIDE for found in self.leftovers)

    @property
    def integer(self) -> bool:
        """Whether all of it is integers: what moves values or is slow is that too."""
        return all(found.kind in (LeftoverKind.TRANSPOSE, LeftoverKind.SLOW) for found in self.leftovers)
