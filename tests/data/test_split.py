"""Held-out samples: whole groups, no content on both sides, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest

from edgeds.data import overlap, random_samples, split
from edgeds.data.samples import make_samples, take
from edgeds.errors import DataError, InputError
from edgeds.spec import Samples


def samples(groups: list[str], contents: list[int] | None = None) -> Samples:
    """One sample a group entry; equal `contents` are equal arrays."""
    numbers = np.array(contents if contents is not None else range(len(groups)), np.float32)
    return make_samples(
        [numbers[:, None] * np.ones((1, 3), np.float32)], [str(i) for i in range(len(groups))], groups, "set"
    )


def random_case(seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    groups = [f"g{i}" for i in rng.integers(0, rng.integers(2, 12), n)]
    return samples(groups, rng.integers(0, 60, n).tolist())


@pytest.mark.parametrize("seed", range(60))
def test_both_sides_are_disjoint_whole_and_complete(seed: int) -> None:
    data = random_case(seed)
    try:
        calibration, held_out = split(data, fraction=0.1 + seed % 9 / 10, seed=seed)
    except DataError as error:
        assert "none can be held out" in str(error)
        return
    assert len(calibration) and len(held_out)
    assert sorted(calibration.names + held_out.names) == sorted(data.names)
    assert not set(calibration.groups) & set(held_out.groups)
    assert overlap(calibration, held_out) == ()


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.99])
def test_samples_of_their_own_are_held_out_in_the_fraction(fraction: float) -> None:
    calibration, held_out = split(random_samples(((1, 4),), 100), fraction)
    assert (len(calibration), len(held_out)) == (100 - round(100 * fraction), round(100 * fraction))


def test_a_quarter_of_photos_with_eight_views_is_whole_photos() -> None:
    _, held_out = split(samples([f"p{i // 8}" for i in range(64)]))
    assert len(held_out) == 16 and len(set(held_out.groups)) == 2


def test_one_large_group_is_not_held_out_where_a_small_one_is_nearer() -> None:
    for seed in range(10):
        _, held_out = split(samples(["big"] * 30 + ["a", "b"]), seed=seed)
        assert set(held_out.groups) <= {"a", "b"}


def test_the_same_seed_splits_alike_and_another_seed_does_not() -> None:
    data = random_samples(((1, 4),), 64)
    assert split(data)[1].digest == split(data)[1].digest
    assert split(data, seed=1)[1].digest != split(data, seed=0)[1].digest


def test_the_split_does_not_depend_on_the_order_of_the_samples() -> None:
    for seed in range(20):
        data = random_case(seed)
        rows = np.random.default_rng(seed).permutation(len(data)).tolist()
        try:
            expected = set(split(data)[1].names)
        except DataError:
            continue
        assert set(split(take(data, rows))[1].names) == expected


def test_order_and_arrays_are_kept() -> None:
    data = random_samples(((1, 4), (1, 2, 2)), 20)
    for side in split(data):
        rows = [data.names.index(name) for name in side.names]
        assert rows == sorted(rows)
        assert all(np.array_equal(a, b[rows]) for a, b in zip(side.inputs, data.inputs, strict=True))


def test_the_same_content_under_two_names_stays_together_through_a_chain() -> None:
    # a=b by content 1, b=c by content 2: all three are one, only d can go
    data = samples(["a", "b", "b", "c", "d"], [1, 1, 2, 2, 3])
    for seed in range(10):
        sides = split(data, fraction=0.5, seed=seed)
        assert {frozenset(side.groups) for side in sides} == {frozenset("abc"), frozenset("d")}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (samples(["a"]), "set has 1 sample: none can be held out; give at least 2 samples, or --validation"),
        (samples(["a", "a"]), "set has 2 samples, all of one photo or identical"),
        (samples(["a", "b", "c"], [5, 5, 5]), "set has 3 samples, all of one photo or identical"),
    ],
)
def test_what_cannot_be_split_is_refused(data: Samples, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(data)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_fraction_outside_of_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="give a number between 0 and 1"):
        split(random_samples(((1, 4),)), fraction)


def test_overlap_names_the_validation_samples_that_were_calibrated_on() -> None:
    assert overlap(samples(["a", "b"], [1, 2]), samples(["c", "d", "e"], [3, 2, 4])) == ("1",)
