"""Whether a constant that was fitted holds where it was not: fitted anew without each board, and tried on that one.

There are two: which share of core and memory is not hidden behind the other, for one thread, and the efficiency of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeds import devices
from edgeds.latency.estimate import INTERVALS, Parts
from edgeds.latency.memory import UNHIDDEN, Times
from edgeds.latency.threads import on_threads
from edgeds.results import Method
from tests.bench.latency_table import Compared

_CANDIDATES = tuple(k / 100 for k in range(5, 101, 5))
# An interval holds this share of the rows that it is made from.
_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A board, the constant and the interval that the others' rows choose, and how its own rows do with both.

    `low` and `high` are factors of an estimate between which the others lie, `inside` is the share of the board's rows there, and
    `inside_stated` within the interval that reports state.
    """

    device: str
    n_rows: int
    constant: float
    mean_absolute_error: float
    low: float
    high: float
    inside: float
    inside_stated: float


# milliseconds of a row with another constant
Total = Callable[[Compared, float], float]


def with_unhidden(one: Compared, unhidden: float) -> float:
    """One thread's milliseconds where another share is not hidden."""
    parts = _parts(one)
    return (sum(times.overlapped(unhidden) for times in parts.blocks) + parts.lost_ns) / 1e6


def with_efficiency(one: Compared, efficiency: float) -> float:
    """Several threads' milliseconds where another share of the cores is at work."""
    parts, n = _parts(one), one.row.threads
    clock = devices.load(one.row.device).clock
    ratio = clock.hz / (clock.together_hz or clock.hz)
    blocks = (on_threads(times, n, ratio, efficiency).overlapped(UNHIDDEN) for times in parts.blocks)
    return (sum(blocks) + on_threads(Times(parts.lost_ns, 0, 0), n, ratio, efficiency).core) / 1e6


def _parts(one: Compared) -> Parts:
    assert one.parts is not None, one.row
    return one.parts


def leave_one_board_out(rows: Sequence[Compared], total: Total) -> list[LeftOut]:
    """For every board among `rows`, which were all emulated, and come from at least two boards."""
    return [_left_out(device, rows, total) for device in dict.fromkeys(one.row.device for one in rows)]


def _left_out(device: str, rows: Sequence[Compared], total: Total) -> LeftOut:
    own = [one for one in rows if one.row.device == device]
    others = [one for one in rows if one.row.device != device]
    best = best_constant(others, total)
    low, high = interval([one.row.ms / total(one, best) for one in others])
    ratios = [one.row.ms / total(one, best) for one in own]
    error = mean_absolute_error(own, total, best)
    return LeftOut(
        device,
        len(own),
        best,
        error,
        low,
        high,
        _within(ratios, low, high),
        _within(ratios, *INTERVALS[_method(own[0])]),
    )


def _within(ratios: Sequence[float], low: float, high: float) -> float:
    return sum(low <= ratio <= high for ratio in ratios) / len(ratios)


def _method(one: Compared) -> Method:
    return Method.EMULATED if one.row.threads == 1 else Method.PROJECTED


def best_constant(rows: Sequence[Compared], total: Total) -> float:
    """The one of the least mean absolute error, boards counting alike however many rows they have."""
    boards = [[one for one in rows if one.row.device == d] for d in dict.fromkeys(one.row.device for one in rows)]
    return min(_CANDIDATES, key=lambda constant: sum(mean_absolute_error(board, total, constant) for board in boards))


def mean_absolute_error(rows: Sequence[Compared], total: Total, constant: float) -> float:
    """Of estimates with another constant."""
    return sum(abs(total(one, constant) / one.row.ms - 1) for one in rows) / len(rows)


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Between which factors `_SHARE` of the published numbers lie, as many outside above as below."""
    ordered = sorted(ratios)
    cut = round((1 - _SHARE) / 2 * len(ordered))
    return ordered[cut], ordered[-1 - cut]


def table(constant: str, left_out: Sequence[LeftOut]) -> str:
    """In Markdown."""
    head = f"| board left out | rows | {constant} of the others | its mean absolute error | 95 % of the others "
    lines = [f"{head}| its rows there | in the stated interval |", "|---|--:|--:|--:|--:|--:|--:|"]
    for one in left_out:
        cells = [one.device, str(one.n_rows), f"{one.constant:.2f}", f"{one.mean_absolute_error:.1%}"]
        lines.append(
            f"| {' | '.join(cells)} | {one.low:.2f}..{one.high:.2f} | {one.inside:.0%} | {one.inside_stated:.0%} |"
        )
    return "\n".join(lines)
