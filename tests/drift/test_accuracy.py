"""Intervals and tests against published values and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeds.drift.accuracy import Z_95, is_scores, mcnemar, share, top_classes, wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Stat. Med. 17 (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(count: int, total: int, low: float, high: float) -> None:
    found = wilson(count, total)
    assert [round(value, 4) for value in found] == [low, high]


def test_wilsons_interval_is_where_the_score_test_just_does_not_reject() -> None:
    for bound in wilson(37, 50):
        assert abs(37 / 50 - bound) / math.sqrt(bound * (1 - bound) / 50) == pytest.approx(Z_95)


def test_wilsons_interval_ends_at_0_and_at_1_and_is_symmetric() -> None:
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0
    low, high = wilson(3, 10)
    assert wilson(7, 10) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("count", "total"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_has_no_interval(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(count, total)


def test_a_share_counts_what_is_true() -> None:
    found = share(np.array([True, False, True, True]))
    assert (found.count, found.total, found.value) == (3, 4, 0.75)
    assert (found.low, found.high) == wilson(3, 4)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (1, 0, 1.0),
        (0, 6, 2 / 64),
        (1, 7, 2 * (1 + 8) / 256),
        (12, 2, 2 * (1 + 14 + 91) / 2**14),
    ],
)
def test_mcnemars_exact_test_is_the_binomial_tail(lost: int, won: int, p: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(p, rel=1e-12)
    assert mcnemar(won, lost) == mcnemar(lost, won)


def test_mcnemars_exact_test_is_the_published_one() -> None:
    # Fagerland, Lydersen, Laake (2013), table 1: 1 and 7 discordant pairs of 21 give p = 0.070
    assert round(mcnemar(1, 7), 3) == 0.070


def test_mcnemars_test_of_many_pairs_is_the_normal_one() -> None:
    z = (5200 - 5000 - 0.5) / math.sqrt(2500)  # with the continuity correction
    assert mcnemar(5200, 4800) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_the_top_classes_are_in_order_and_equal_scores_go_to_the_lower_class() -> None:
    scores = np.array([[0, 3, 3, 1, 2, 5, 0], [1, 1, 1, 1, 1, 1, 1]], np.float32)
    assert top_classes(scores).tolist() == [[5, 1, 2, 4, 3], [0, 1, 2, 3, 4]]
    assert top_classes(scores.reshape(2, 7, 1, 1)).tolist() == top_classes(scores).tolist()
    assert top_classes(scores[:, :3]).tolist() == [[1, 2, 0], [0, 1, 2]]


def test_scores_are_vectors_of_two_classes_or_more() -> None:
    assert is_scores((1, 10)) and is_scores((4, 2, 1, 1))
    assert not any(map(is_scores, [(1, 1), (1, 10, 7, 7), (1, 10, 3), (1,), ()]))
