"""How often answers are right, and whether two models' answers differ by more than chance. Pure functions."""

from __future__ import annotations

import math

import numpy as np

from edgeds.results import Share
from edgeds.spec import Array

TOP = 5
# the 0.975 quantile of the standard normal distribution: an interval of 95 %
Z_95 = 1.959963984540054


def top_classes(scores: Array) -> Array:
    """The classes with the highest scores, int32 [N, min(5, C)], the highest first; among equal scores the lower class comes first.

    scores: [N, C] or [N, C, 1, 1], see `is_scores`. Equal scores are common in int8, whose outputs have 256 values.
    """
    flat = scores.reshape(scores.shape[:2])
    return np.argsort(-flat, axis=1, kind="stable")[:, :TOP].astype(np.int32)


def is_scores(shape: tuple[int, ...]) -> bool:
    """Whether an output of this shape, batch included, has a score a class: [N, C] or [N, C, 1, 1] with C ≥ 2."""
    return len(shape) in (2, 4) and shape[1] >= 2 and shape[2:] in ((), (1, 1))


def share(right: Array) -> Share:
    """How many of `right` (bool [N]) are true, with the interval of `wilson`."""
    count, total = int(np.count_nonzero(right)), len(right)
    return Share(count, total, *wilson(count, total))


def wilson(count: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The interval in which the share that `count` of `total` samples estimates lies, with 95 % confidence unless `z` says else.

    Wilson's score interval (J. Am. Stat. Assoc. 22, 1927, p. 209): it stays within 0..1 and holds for shares near 0 and 1 and for few samples, where the
    usual ± z·√(p(1-p)/n) does not. ValueError unless 0 ≤ count ≤ total and total ≥ 1.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"{count} of {total} is no share")
    p, square = count / total, z * z / total
    middle = p + square / 2
    half = z * math.sqrt(p * (1 - p) / total + square / (4 * total))
    # at the ends rounding would leave 1e-17 of what is exactly nothing
    low = 0.0 if count == 0 else (middle - half) / (1 + square)
    return low, 1.0 if count == total else (middle + half) / (1 + square)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of the exact test whether two models that saw the same samples are right equally often.

    `only_first` samples were right in the first model alone, `only_second` in the second alone; what both have right, or both
    wrong, tells nothing. If the models are equally good each of these falls to either side like a coin: p = min(1, 2·P(X ≤ min)) with
    X binomial (McNemar, Psychometrika 12, 1947; exact as in Fagerland et al., BMC Med. Res. Methodol. 13:91, 2013). 1 where there is none.
    """
    n = only_first + only_second
    log_total = n * math.log(2)
    terms = (math.exp(_log_choose(n, k) - log_total) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * math.fsum(terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
