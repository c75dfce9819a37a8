"""Whether a constant that was fitted holds where it was not: fitted anew without each board, and tried on that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeds.latency.estimate import Estimated
from tests.bench.latency_table import Compared

_CANDIDATES = tuple(k / 100 for k in range(0, 101, 5))
# The quantiles of the ratio of published to estimated that an interval fitted without a board takes.
_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A board, the constant that the others' rows choose, and the mean absolute error and the share inside the interval of its rows."""

    device: str
    n_rows: int
    unhidden: float
    mean_absolute_error: float
    low: float
    high: float
    inside: float


def leave_one_board_out(rows: Sequence[Compared]) -> list[LeftOut]:
    """For every board among `rows`, which are of one thread and were emulated."""
    return [_left_out(device, rows) for device in dict.fromkeys(one.row.device for one in rows)]


def _left_out(device: str, rows: Sequence[Compared]) -> LeftOut:
    inside = [one for one in rows if one.row.device == device]
    others = [one for one in rows if one.row.device != device]
    best = best_unhidden(others)
    low, high = interval([1 / (1 + error_with(one, best)) for one in others])
    ratios = [1 / (1 + error_with(one, best)) for one in inside]
    return LeftOut(
        device,
        len(inside),
        best,
        mean_absolute_error(inside, best),
        low,
        high,
        sum(low <= ratio <= high for ratio in ratios) / len(ratios),
    )


def best_unhidden(rows: Sequence[Compared]) -> float:
    """The constant of the least mean absolute error, boards counting alike however many rows they have."""
    boards = [[one for one in rows if one.row.device == d] for d in dict.fromkeys(one.row.device for one in rows)]
    return min(_CANDIDATES, key=lambda unhidden: sum(mean_absolute_error(board, unhidden) for board in boards))


def mean_absolute_error(rows: Sequence[Compared], unhidden: float) -> float:
    """Of estimates with another constant."""
    return sum(abs(error_with(one, unhidden)) for one in rows) / len(rows)


def error_with(one: Compared, unhidden: float) -> float:
    """The error of an emulated row with another constant."""
    assert one.estimated is not None, one.row
    return total_ms(one.estimated, unhidden) / one.row.ms - 1


def total_ms(estimated: Estimated, unhidden: float) -> float:
    """What the estimate is with another constant."""
    return (sum(times.overlapped(unhidden) for times in estimated.blocks) + estimated.lost_ns) / 1e6


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Between which factors the published numbers of `_SHARE` of the rows lie, as many outside above as below."""
    ordered = sorted(ratios)
    cut = round((1 - _SHARE) / 2 * len(ordered))
    return ordered[cut], ordered[-1 - cut]


def table(left_out: Sequence[LeftOut]) -> str:
    """In Markdown."""
    lines = [
        "| board left out | rows | UNHIDDEN of the others | its mean absolute error | the others' interval | inside |"
    ]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for one in left_out:
        cells = [one.device, str(one.n_rows), f"{one.unhidden:.2f}", f"{one.mean_absolute_error:.1%}"]
        lines.append(f"| {' | '.join(cells)} | {one.low:.2f}..{one.high:.2f} | {one.inside:.0%} |")
    return "\n".join(lines)
